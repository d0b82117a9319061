/* The `winnow` program: one table of commands. */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "command.h"
#include "revision.h" /* made by the build */

#ifndef WINNOW_VERSION
#define WINNOW_VERSION "0.1.0"
#endif
#ifndef WINNOW_BUILD
#define WINNOW_BUILD "unknown"
#endif

#define COMMON_USAGE                                                                                         \
    "  --model DIR            checkpoint (default: the built-in miniature)\n"                                \
    "  --device cpu|cuda|ref  --dtype auto|f32|bf16|f16  --threads N  --seed N\n"                            \
    "  --image-mode crop|pad  --max-new-tokens N  --json\n"

static const struct command commands[] = {
    {"ask", cmd_ask, "ask a model about pictures, with or without token reduction",
     "winnow ask [--image F]... [--method M] [--budget B] [--match X] [-p K=V]... [--control C]\n"
     "           [--template T | --raw] [--trace F.h5] [--ledger] QUESTION...\n"
     "winnow ask --video F [--frames N] ... QUESTION...\n"
     "Several questions are turns of one dialogue. A clip is shown as N frames (8), each a picture.\n"
     "--raw takes the question as the whole prompt.\n" COMMON_USAGE},
    {"show", cmd_show, "draw which patches survive each cut",
     "winnow show (TRACE.h5 [--sample ID] [--cell KEY] | --image F QUESTION...) -o OUT.png|DIR\n"
     "            [--method M] [--budget B] [--match X] [-p K=V]... [--template T]\n"
     "Rows are questions; columns the picture, the priority map and what is left after each "
     "cut.\n" COMMON_USAGE},
    {"sweep", cmd_sweep, "run a grid of methods, budgets and benchmarks into a store",
     "winnow sweep FILE.yaml|NAME [--store S.db] [--plan] [--data DIR] [--set PATH=V]... [--limit N]\n"
     "             [--shard I/N] [--workers N] [--no-share] [--memory SIZE] [--timeout-per-sample S]\n"
     "             [--json] [--shards N] [--slurm [SBATCH OPTIONS]]\n"
     "Cells share the work they have in common, in SIZE bytes (default: a quarter of the machine's memory);\n"
     "--no-share runs each alone. Answers and figures are the same. Interrupted, the same command goes on\n"
     "where it stopped; from another terminal: winnow status.\n"
     "--json prints events, a JSON object a line: start, phase, progress (each second), sample_failed,\n"
     "cell_done, and end with the figures of every cell; with --plan one document.\n"
     "--shard I/N asks one part of the samples; `winnow merge` puts the stores of all parts together.\n"
     "--slurm submits an array job of N shards, and a job that merges them into S.db. What stands behind it\n"
     "goes to sbatch (behind `--`, where there is one): --slurm --array=1-8 --partition=P --time=4:00:00.\n"
     "N is that of --shards N or of --array=1-N. Submitting again goes on; --slurm --plan only prints the\n"
     "script and how it would be submitted.\n"},
    {"report", cmd_report, "tables, plots and pictures from a store",
     "winnow report S.db... [-o DIR] [--format md,csv,png,svg] [--tables LIST] [--baseline vanilla]\n"
     "Tables: main, controls, tradeoff, table1, table4, fig5, fig6, sensitivity.\n"},
    {"score", cmd_score, "score an answer file as the benchmark's official scorer does",
     "winnow score BENCHMARK --answers F [--questions F] [--annotations F] [--protocol "
     "official|lmms|vlmeval]\n"
     "             [--per-sample OUT.jsonl] [--judge-cache F] [--json]\n"
     "A sweep's answers: winnow export. A judge: WINNOW_JUDGE_URL, _MODEL, _KEY.\n"},
    {"export", cmd_export, "write the answers of a store's cell for other tools",
     "winnow export S.db --cell KEY [--format answers|submission|csv] -o F\n"
     "              [--data DIR] [--questions F] [--annotations F]\n"
     "KEY may be the beginning of a key. answers: LLaVA's answer file (winnow score reads it); submission: "
     "what\n"
     "the benchmark's official scorer or server takes, with --data or --questions to read its files; csv: "
     "the\n"
     "cell's sample rows.\n"},
    {"prompt", cmd_prompt, "print the prompts of a benchmark",
     "winnow prompt BENCHMARK --questions F [--template T] [--limit N]\n"},
    {"parity", cmd_parity, "compare with golden cases of the reference implementations",
     "winnow parity [--device D] [--dtype T] [--tol F] CASE_DIR...\n"},
    {"bench", cmd_bench, "time methods on a known geometry with random weights, or on a checkpoint",
     "winnow bench [--plan] [--model DIR | --geometry NAME[:LAYERS]] [--methods LIST] [--budgets LIST] "
     "[--match X]\n"
     "             [-p K=V]... [--visual-tokens LIST] [--text-tokens N] [--decode N] [--repeats N] "
     "[--spread F] [--json]\n"
     "A method is NAME, or NAME[K=V;K=V] with settings of its own beside those of -p, so that variants "
     "stand\n"
     "side by side. One with counts of its own (keep, ratios, r, ...) makes one row, any other a row a "
     "budget\n"
     "(default 192,128,64; pdrop alone has a setting without one). Visual tokens that are a multiple of a\n"
     "picture's are that many pictures; vision_ms, and what a method adds in the tower, are always the time "
     "of\n"
     "one picture of the checkpoint's size. share_select: select_ms / prefill_ms. Figures that depend on "
     "the\n"
     "data are null, or -, in a plan.\n"},
    {"ops", cmd_ops, "check every operation of a backend against the reference, or time it",
     "winnow ops [--device D] [--perf] [--filter RE]\n"},
    {"world", cmd_world, "write the generated benchmarks, or training data for the miniature",
     "winnow world --out DIR [--suite NAME]... [--seed N] [--count N]\n"},
    {"conform", cmd_conform, "check every method against what all methods promise, on a model made in memory",
     "winnow conform [--method M] [--family F] [--device D] [--json]\n"
     "A line a check: ok|FAIL|skip METHOD CHECK VALUE LIMIT; status 1 when one failed.\n"},
    {"list", cmd_list, "list methods, parameters, benchmarks, families, devices, schedules, grids",
     "winnow list methods|params [METHOD]|benchmarks|families|devices|schedules|grids [--json | "
     "--markdown]\n"},
    {"merge", cmd_merge, "bring stores of shards or machines together",
     "winnow merge OUT.db IN.db... [--data DIR]... [--questions F]... [--annotations F]... [--json]\n"
     "Cells are matched by key, samples by their row; OUT may be there or not, inputs are only read. "
     "Scores,\n"
     "intervals and comparisons are made anew, for which the benchmarks' files are looked for in the "
     "folders\n"
     "given and beside the stores. Where two stores answer a sample differently OUT's row stays, both are\n"
     "listed, and the status is 1. Traces (.h5) stay where they are.\n"},
    {"diff", cmd_diff, "compare two stores cell by cell and row by row",
     "winnow diff A.db B.db [--by key|config] [--json]\n"
     "Everything is compared that two runs of one cell must have in common: answers, scores, tokens, FLOPs,\n"
     "bytes, layers, keep maps, figures and comparisons; not times, machine, judge and revision. --by "
     "config\n"
     "takes cells of the same settings and model name for the same, whatever weights and numerics. Status 0\n"
     "when nothing differs, 1 otherwise.\n"},
    {"status", cmd_status, "tell whether a sweep runs on a store, and how far it is",
     "winnow status S.db [--json]\n"
     "Read-only, also while the sweep runs. n: samples answered, of: planned (all shards that the store "
     "knows),\n"
     "right %: mean of the samples' scores so far, score: the benchmark's own figure once the sweep has made "
     "it.\n"},
    {"sql", cmd_sql, "query a store, read-only", "winnow sql S.db 'SELECT ...'\n"},
};
enum { N_COMMANDS = sizeof commands / sizeof *commands };

const struct command *command_find(const char *name)
{
    for (int i = 0; i < N_COMMANDS; i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

static void usage(FILE *out)
{
    fprintf(out, "winnow: a research bench for visual-token reduction in vision-language models\n\n"
                 "usage: winnow COMMAND ...\n\n");
    for (int i = 0; i < N_COMMANDS; i++)
        fprintf(out, "  %-8s %s\n", commands[i].name, commands[i].summary);
    fprintf(
        out,
        "\n`winnow help COMMAND` tells more. Exit status: 0 well, 1 something does not hold, 2 bad input,\n"
        "3 the machine lacks something, 130 interrupted and resumable.\n");
}

static int help(const char *name)
{
    const struct command *command = name ? command_find(name) : NULL;
    if (name && command == NULL)
        return fprintf(stderr, "winnow: error: unknown command '%s'; `winnow help` lists them\n", name),
               BAD_INPUT;
    if (command)
        printf("%s: %s\n\n%s", command->name, command->summary, command->usage);
    else
        usage(stdout);
    return OK;
}

static int version(void)
{
    int n;
    const struct ops *const *all = ops_all(&n);
    printf("winnow %s (%s; backends:", WINNOW_VERSION, WINNOW_BUILD);
    for (int i = 0; i < n; i++)
        printf(" %s", all[i]->name);
    printf("; revision %s)\n", WINNOW_REVISION);
    return OK;
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_DFL);
    opterr = 0; /* commands say it themselves, as `winnow: error: ` */
    if (argc < 2) {
        usage(stderr);
        return BAD_INPUT;
    }
    if (strcmp(argv[1], "--version") == 0)
        return version();
    if (strcmp(argv[1], "help") == 0 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
        return help(argc > 2 ? argv[2] : NULL);
    const struct command *command = command_find(argv[1]);
    if (command == NULL) {
        fprintf(stderr, "winnow: error: unknown command '%s'; `winnow help` lists them\n", argv[1]);
        return BAD_INPUT;
    }
    int status = command->run(argc - 1, argv + 1);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "winnow: error: standard output cannot be written; is the disk full?\n");
        return status != OK ? status : NO_MACHINE;
    }
    return status;
}
