/* `winnow prompt`: the final prompt of each question of a benchmark, as JSON lines; no model and no pictures
 * needed. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/limits.h"
#include "datasets/benchmark.h"
#include "harness/command.h"
#include "harness/template.h"

int cmd_prompt(int argc, char **argv);

static const char usage[] =
    "usage: winnow prompt BENCHMARK --questions F [options]\n"
    "Prints the final prompt of each question, in the order of the file: JSON lines {question_id, prompt, "
    "images,\n"
    "max_new_tokens}.\n"
    "\n"
    "  --questions F      question file (default: the benchmark's own under --data)\n"
    "  --data DIR         tree of LLaVA's evaluation, or the folder given to winnow world --out\n"
    "  --images DIR       folder of the pictures, put before their names\n"
    "  --template T       vicuna_v1, llava_v1, llava-hf (default: that of the official run)\n"
    "  --limit N          the first N questions\n"
    "  --max-new-tokens N instead of the benchmark's own answer limit\n"
    "  -h, --help         this text\n";

struct options {
    const char *benchmark, *template;
    struct benchmark_paths paths;
    int64_t limit, max_new_tokens; /* 0: all, the benchmark's own */
};

static enum status options_read(struct options *out, bool *done, int argc, char **argv, struct error *err)
{
    enum { QUESTIONS = 1, DATA, IMAGES, TEMPLATE, LIMIT, MAX_NEW_TOKENS, JSON };
    static const struct option table[] = {{"questions", required_argument, NULL, QUESTIONS},
                                          {"data", required_argument, NULL, DATA},
                                          {"images", required_argument, NULL, IMAGES},
                                          {"template", required_argument, NULL, TEMPLATE},
                                          {"limit", required_argument, NULL, LIMIT},
                                          {"max-new-tokens", required_argument, NULL, MAX_NEW_TOKENS},
                                          {"json", no_argument, NULL, JSON},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    *out = (struct options){0};
    *done = false;
    optind = 0; /* GNU: scan anew */
    for (int c; (c = getopt_long(argc, argv, ":h", table, NULL)) != -1;) {
        switch (c) {
        case QUESTIONS:
            out->paths.questions = optarg;
            break;
        case DATA:
            out->paths.root = optarg;
            break;
        case IMAGES:
            out->paths.images = optarg;
            break;
        case TEMPLATE:
            out->template = optarg;
            break;
        case LIMIT:
            TRY(parse_int(&out->limit, optarg, 1, INT32_MAX, "--limit", err));
            break;
        case MAX_NEW_TOKENS:
            TRY(parse_int(&out->max_new_tokens, optarg, 1, LIMIT_NEW_TOKENS, "--max-new-tokens", err));
            break;
        case JSON: /* the output is JSON anyway */
            break;
        case 'h':
            *done = true;
            return OK;
        case ':':
            return fail(err, BAD_INPUT, "option %s needs a value; see winnow help prompt", argv[optind - 1]);
        default:
            return fail(err, BAD_INPUT, "option %s is not known, or takes no value; see winnow help prompt",
                        argv[optind - 1]);
        }
    }
    if (argc - optind != 1)
        return fail(err, BAD_INPUT, "prompt takes one benchmark, found %d; see winnow help prompt",
                    argc - optind);
    out->benchmark = argv[optind];
    return OK;
}

static enum status print_prompt(const struct dataset *data, int row, const struct options *options,
                                int max_new_tokens, struct error *err)
{
    const struct sample *sample = &data->samples[row];
    char *prompt;
    TRY(template_prompt(&prompt, options->template, sample->text, sample_placeholders(data, row), 1, err));
    json_t *line = json_object(), *images = json_array();
    json_object_set_new(line, "question_id",
                        sample->numeric_id ? json_integer(strtoll(sample->question_id, NULL, 10))
                                           : json_string(sample->question_id));
    json_object_set_new(line, "prompt", json_string(prompt));
    if (sample->image)
        json_array_append_new(images, json_string(sample->image));
    json_object_set_new(line, "images", images);
    json_object_set_new(line, "max_new_tokens", json_integer(max_new_tokens));
    json_dumpf(line, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(line);
    free(prompt);
    return OK;
}

static enum status run(struct options *options, struct error *err)
{
    struct dataset data;
    enum status status = OK;
    TRY(benchmark_read(&data, options->benchmark, &options->paths, err));
    int n = options->limit > 0 && options->limit < data.n ? (int)options->limit : data.n;
    if (!options->template)
        options->template = data.benchmark->template ? data.benchmark->template : "vicuna_v1";
    int max_new_tokens =
        options->max_new_tokens ? (int)options->max_new_tokens : data.benchmark->max_new_tokens;
    for (int i = 0; i < n && status == OK; i++)
        status = print_prompt(&data, i, options, max_new_tokens, err);
    dataset_close(&data);
    return status;
}

int cmd_prompt(int argc, char **argv)
{
    struct options options;
    struct error err = {0};
    bool help;
    if (options_read(&options, &help, argc, argv, &err) != OK)
        return command_fail(&err);
    if (help) {
        fputs(usage, stdout);
        return 0;
    }
    return run(&options, &err) == OK ? 0 : command_fail(&err);
}
