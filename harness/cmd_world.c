/*
 * `winnow world`: writes the miniature suites. All twins by default; with --suite train the dump that a
 * miniature is trained on.
 */

#include "command.h"

#include "../datasets/mini/suite.h"
#include "../datasets/mini/world.h"

#include <errno.h>  /* errno */
#include <getopt.h> /* getopt_long */
#include <stdio.h>  /* printf */
#include <stdlib.h> /* strtoull */
#include <string.h> /* strcmp */

enum { SUITES_MAX = 32 };

static const char usage[] =
    "usage: winnow world --out DIR [options]\n"
    "Draws the miniature suites: pictures of flat shapes and questions about them, the same bytes on every "
    "machine.\n"
    "\n"
    "  --out DIR         where to write; made if missing\n"
    "  --suite NAME      one of those below; may be repeated (default: all but train)\n"
    "  --seed N          another seed, other pictures (default 0)\n"
    "  --count N         pictures or clips a suite (default: see below)\n"
    "  --canvas N        train: edge in px, a multiple of 14 from 126 to 336 (default 336)\n"
    "  --questions N     train: questions a picture, 0 to 64; 0 writes none (default 24)\n"
    "  --mc-percent N    train: share of multiple choice among them, 0 to 50 (default 8)\n"
    "  --numbers N       train: percent of the pictures that hold numbers, 0 to 100 (default 50)\n"
    "  -h, --help        this text\n";

static void print_usage(void)
{
    fputs(usage, stdout);
    puts("\nSuites, each in its benchmark's own files, and their pictures or clips:");
    for (int i = 0; suite_twin_name(i); i++)
        printf("  %-17s %d\n", suite_twin_name(i), suite_pictures(suite_twin_name(i)));
    printf("  %-17s %d, the dump that a miniature is trained on\n", "train", suite_pictures("train"));
}

/* A decimal number up to most. Returns 0, or -1 after saying what is wrong. */
static int parse_number(unsigned long long *number, const char *option, const char *text,
                        unsigned long long most)
{
    char *end;
    errno = 0;
    *number = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != '\0' || errno != 0 || *number > most) {
        fprintf(stderr,
                "winnow: error: --%s takes a number from 0 to %llu, found \"%s\"; see winnow world --help\n",
                option, most, text);
        return -1;
    }
    return 0;
}

int cmd_world(int argc, char **argv)
{
    enum { OUT = 1, SUITE, SEED, COUNT, CANVAS, QUESTIONS, MC_PERCENT, NUMBERS };
    static const struct option options[] = {{"out", required_argument, NULL, OUT},
                                            {"suite", required_argument, NULL, SUITE},
                                            {"seed", required_argument, NULL, SEED},
                                            {"count", required_argument, NULL, COUNT},
                                            {"canvas", required_argument, NULL, CANVAS},
                                            {"questions", required_argument, NULL, QUESTIONS},
                                            {"mc-percent", required_argument, NULL, MC_PERCENT},
                                            {"numbers", required_argument, NULL, NUMBERS},
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};
    const char *out = NULL, *suites[SUITES_MAX];
    int n_suites = 0, train_only = 0, count = -1;
    struct train_options train = {.questions = SUITE_TRAIN_QUESTIONS,
                                  .mc_percent = SUITE_TRAIN_MC_PERCENT,
                                  .numbers = WORLD_TRAIN_NUMBERS};
    unsigned long long number;
    optind = 1;
    for (int c, which = 0; (c = getopt_long(argc, argv, ":h", options, &which)) != -1;) {
        int failed = 0;
        switch (c) {
        case 'h':
            print_usage();
            return 0;
        case OUT:
            out = optarg;
            break;
        case SUITE:
            if (n_suites == SUITES_MAX) {
                fprintf(stderr, "winnow: error: --suite may be given %d times at most\n", SUITES_MAX);
                return 2;
            }
            suites[n_suites++] = optarg;
            break;
        case SEED:
            failed = parse_number(&number, "seed", optarg, UINT64_MAX);
            train.seed = number;
            break;
        case COUNT:
            failed = parse_number(&number, "count", optarg, SUITE_PICTURES_MAX);
            count = (int)number;
            break;
        case CANVAS:
            failed = parse_number(&number, "canvas", optarg, WORLD_CANVAS);
            train.canvas = (int)number;
            train_only = 1;
            break;
        case QUESTIONS:
            failed = parse_number(&number, "questions", optarg, SUITE_TRAIN_QUESTIONS_MAX);
            train.questions = (int)number;
            train_only = 1;
            break;
        case MC_PERCENT:
            failed = parse_number(&number, "mc-percent", optarg, 50);
            train.mc_percent = (int)number;
            train_only = 1;
            break;
        case NUMBERS:
            failed = parse_number(&number, "numbers", optarg, 100);
            train.numbers = (int)number;
            train_only = 1;
            break;
        default:
            fprintf(stderr, "winnow: error: %s \"%s\"; see winnow world --help\n",
                    c == ':' ? "no value after option" : "unknown option", argv[optind - 1]);
            return 2;
        }
        if (failed)
            return 2;
    }
    if (!out || optind < argc) {
        if (!out)
            fputs("winnow: error: --out DIR is missing; see winnow world --help\n", stderr);
        else
            fprintf(stderr, "winnow: error: unexpected argument \"%s\"; see winnow world --help\n",
                    argv[optind]);
        return 2;
    }
    if (n_suites == 0)
        while (n_suites < SUITES_MAX && suite_twin_name(n_suites)) {
            suites[n_suites] = suite_twin_name(n_suites);
            n_suites++;
        }
    for (int i = 0; i < n_suites; i++)
        if (train_only && strcmp(suites[i], "train") != 0) {
            fprintf(stderr,
                    "winnow: error: --canvas, --questions, --mc-percent and --numbers go with --suite train, "
                    "found %s; give them in a run of their own\n",
                    suites[i]);
            return 2;
        }
    for (int i = 0; i < n_suites; i++) {
        char err[1024];
        int is_train = strcmp(suites[i], "train") == 0;
        train.count = count >= 0 ? count : suite_pictures(suites[i]);
        int failed = is_train ? suite_write_train(out, &train, err, sizeof err)
                              : suite_write(suites[i], out, train.seed, train.count, err, sizeof err);
        if (failed) {
            fprintf(stderr, "winnow: error: %s\n", err);
            return 2;
        }
        printf("%s: %d pictures or clips, seed %llu, in %s%s%s\n", suites[i], train.count,
               (unsigned long long)train.seed, out, is_train ? "" : "/", is_train ? "" : suites[i]);
    }
    return 0;
}
