/*
 * mini-scienceqa: ScienceQA's problems, its splits and LLaVA's list of the test questions. By turns a
 * question about a picture of its own, every third with a hint about something else in it, and one without a
 * picture that its hint answers.
 */
#include "forms.h"
#include "questions.h"
#include "suite_files.h"
#include "suite_twin.h"
#include "world.h"

#include <stdio.h>  /* fprintf */
#include <string.h> /* strchr, strlen */

/* One problem as its files tell it; the question's text holds hint, stem and options as the world writes
 * them. */
struct problem {
    int id, has_picture;
    char hint[QUESTION_TEXT_SIZE], stem[QUESTION_TEXT_SIZE];
    const struct question *question;
};

static void write_choices(FILE *file, const struct question *q, const char *between, int quoted)
{
    for (int i = 0; i < q->n_options; i++) {
        struct span span = q->options[i].span;
        if (quoted)
            fprintf(file, "%s\"%.*s\"", i ? between : "", span.end - span.begin, q->text + span.begin);
        else
            fprintf(file, "%s%c. %.*s", between, 'A' + i, span.end - span.begin, q->text + span.begin);
    }
}

static void write_problem(FILE *file, const struct problem *problem)
{
    const struct question *q = problem->question;
    int right = q->answer[0] - 'A';
    struct span span = q->options[right].span;
    fprintf(file, "  \"%d\": {\"question\": \"%s\", \"choices\": [", problem->id, problem->stem);
    write_choices(file, q, ", ", 1);
    fprintf(file, "], \"answer\": %d, \"hint\": \"%s\", \"image\": %s, \"task\": \"closed choice\", ", right,
            problem->hint, problem->has_picture ? "\"image.png\"" : "null");
    fprintf(file,
            "\"grade\": \"grade%d\", \"subject\": \"natural science\", \"topic\": \"%s\", "
            "\"category\": \"%s\", \"skill\": \"%s\", \"lecture\": \"\", ",
            q->n_options, problem->has_picture ? "pictures" : "reading", question_types[q->type],
            question_form_name(q->form));
    fprintf(file, "\"solution\": \"The answer is %s: %.*s.\", \"split\": \"test\"}", q->answer,
            span.end - span.begin, q->text + span.begin);
}

static void write_conversation(FILE *file, const struct problem *problem)
{
    fprintf(file, "  {\"id\": \"%d\", ", problem->id);
    if (problem->has_picture)
        fprintf(file, "\"image\": \"%d/image.png\", ", problem->id);
    fprintf(file, "\"conversations\": [{\"from\": \"human\", \"value\": \"%s",
            problem->has_picture ? "<image>\\n" : "");
    if (*problem->hint)
        fprintf(file, "Context: %s\\n", problem->hint);
    fputs(problem->stem, file);
    write_choices(file, problem->question, "\\n", 0);
    fprintf(file, "\"}, {\"from\": \"gpt\", \"value\": \"%s\"}]}", problem->question->answer);
}

/* "Context: The star is red. …\nWhat color is the star?\nA. …": the hint and the question out of it. */
static void split_text(struct problem *problem)
{
    static const char label[] = "Context: ";
    const char *text = problem->question->text, *stem = strchr(text, '\n') + 1;
    const char *hint = text + strlen(label);
    snprintf(problem->hint, sizeof problem->hint, "%.*s", (int)(stem - 1 - hint), hint);
    snprintf(problem->stem, sizeof problem->stem, "%.*s",
             (int)(text + question_stem(problem->question) - stem), stem);
}

static int ask_picture(struct problem *problem, struct question *q, struct twin *twin, int i,
                       const struct scene *scene, struct world_rng *rng)
{
    static const enum form forms[9] = {FORM_MC_COLOR,  FORM_MC_SHAPE,  FORM_MC_COUNT,
                                       FORM_MC_WHERE,  FORM_MC_NUMBER, FORM_MC_RELC_X,
                                       FORM_MC_RELC_Y, FORM_MC_POS_X,  FORM_MC_POS_Y};
    int n = 2 + i % 3, first = world_rng_below(rng, n == 2 ? 9 : 5), k = 0;
    while (k < 9 &&
           question_ask_form(q, (int)forms[(first + k) % 9], n, NULL, 0, scene, &twin->ledger, rng) != 0)
        k++;
    if (k == 9)
        return -1;
    unsigned avoid = 0;
    for (int t = 0; t < q->n_targets; t++)
        avoid |= 1u << q->targets[t];
    if (world_rng_below(rng, 3) == 0)
        scene_hint_except(problem->hint, sizeof problem->hint, scene, avoid, rng);
    snprintf(problem->stem, sizeof problem->stem, "%.*s", question_stem(q), q->text);
    return 0;
}

/* Every problem is in the test split; "minitest" is its first tenth. */
static void write_splits(FILE *file, int n)
{
    static const char *const names[7] = {"train",     "val",     "test",    "trainval",
                                         "minitrain", "minival", "minitest"};
    fputs("{", file);
    for (int s = 0; s < 7; s++) {
        int listed = s == 2 ? n : s == 6 ? (n + 9) / 10 : 0;
        fprintf(file, "%s\"%s\": [", s ? ", " : "", names[s]);
        for (int i = 0; i < listed; i++)
            fprintf(file, "%s\"%d\"", i ? ", " : "", i + 1);
        fputs("]", file);
    }
    fputs("}\n", file);
}

int suite_write_scienceqa(struct twin *twin)
{
    FILE *list = twin_file(twin, "", "llava_test_CQM-A.json");
    FILE *problems = list ? twin_file(twin, "", "problems.json") : NULL;
    FILE *splits = problems ? twin_file(twin, "", "pid_splits.json") : NULL;
    if (!splits)
        return -1;
    fputs("[", list);
    fputs("{", problems);
    for (int i = 0; i < 2 * twin->count; i++) {
        struct problem problem = {.id = i + 1, .has_picture = i % 2 == 0};
        struct question question;
        struct scene scene;
        struct world_rng rng = twin_rng(twin, i, STREAM_QUESTIONS);
        problem.question = &question;
        if (problem.has_picture) {
            char folder[48];
            int spare = 0;
            do
                if (twin_scene(&scene, twin, i / 2 + spare++ * SPARE_PICTURE) != 0)
                    return -1;
            while (ask_picture(&problem, &question, twin, i / 2, &scene, &rng) != 0);
            snprintf(folder, sizeof folder, "images/test/%d", problem.id);
            if (twin_picture(twin, &scene, folder, "image.png") != 0)
                return -1;
        } else {
            if (question_ask_form(&question, FORM_TEXT, 2 + i / 2 % 3, NULL, 0, &scene, &twin->ledger,
                                  &rng) != 0)
                return twin_failed(twin, "no question without a picture came off");
            split_text(&problem);
        }
        fputs(i ? ",\n" : "\n", list);
        write_conversation(list, &problem);
        fputs(i ? ",\n" : "\n", problems);
        write_problem(problems, &problem);
    }
    fputs("\n]\n", list);
    fputs("\n}\n", problems);
    write_splits(splits, 2 * twin->count);
    return 0;
}
