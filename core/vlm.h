/* The runtime: one vision-language model, asked with or without a method of visual-token reduction.
 *
 *     struct vlm *vlm;
 *     TRY(vlm_open(&vlm, &(struct vlm_options){.dir = "models/miniature"}, &err));
 *     struct session *session;
 *     TRY(session_open(&session, vlm, 2, &err));                       // one thread of work with 2 threads
 *     struct features *features;
 *     TRY(session_encode(&features, session, &image, &(struct encode_options){.method = &method}, &err));
 *     struct answer answer;
 *     TRY(session_ask(&answer, session, &(struct question){
 *         .prompts = (const char *[]){"USER: <image>\nWhat? ASSISTANT:"}, .n_turns = 1,
 *         .images = &features, .n_images = 1, .method = &method, .max_new_tokens = 16}, &err));
 *     puts(answer.turns[0].text);
 *     answer_free(&answer); features_release(features); session_close(session); vlm_close(vlm);
 *
 * A vlm is immutable after vlm_open and shared by threads; a session belongs to one thread at a time. The
 * harness knows nothing of layers; the runtime knows nothing of SQLite, HDF5 or benchmarks.
 */
#ifndef WINNOW_VLM_H
#define WINNOW_VLM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "image.h"
#include "ledger.h"
#include "reducer.h"
#include "tokenizer.h"

struct vlm;
struct session;

enum dtype_choice { DTYPE_AUTO, DTYPE_CHOICE_F32, DTYPE_CHOICE_BF16, DTYPE_CHOICE_F16 };

struct vlm_options {
    const char *dir;         /* checkpoint directory */
    const char *device;      /* "cpu", "ref", "cuda"; NULL or "": cuda where usable and worth it, else cpu */
    enum dtype_choice dtype; /* of weights and GEMM inputs; auto: f32 */
    uint64_t random_seed;    /* with `geometry`: weights from this seed instead of a file */
    const char
        *geometry; /* "llava-1.5-7b[:LAYERS]" …: no checkpoint, random weights (bench); NULL otherwise */
};

/* Shape of a model, immutable; config.json with the class defaults filled in. */
struct vlm_config {
    const char *family; /* "llava-1.5" */
    struct {
        int hidden, intermediate, n_layers, n_heads, image_size, patch, n_used_layers /* that run */;
        float eps;
        enum activation activation;
    } vision;
    struct {
        int hidden, intermediate, n_layers, n_heads, n_kv_heads, head_dim, vocabulary, max_positions;
        float eps;
        double rope_theta, rope_scale /* positions are divided by it ("linear") */;
    } text;
    bool keep_cls; /* vision_feature_select_strategy: full */
    enum activation projector_activation;
    int32_t image_token, bos, eos[8];
    int n_eos;
    int visual_per_image;     /* 576 */
    int grid_rows, grid_cols; /* 24 × 24 */
    float query_gain;         /* geometry: factor of the pseudo-random queries and keys */
};

enum status vlm_open(struct vlm **out, const struct vlm_options *options, struct error *err);
void vlm_close(struct vlm *vlm);
/* The shape of a model without loading it. */
enum status vlm_describe(struct vlm_config *out, const struct vlm_options *options, struct error *err);
/* What a plan depends on, for a prompt of this many tokens. */
struct plan_input vlm_plan_input(const struct vlm_config *config, int n_visual, int n_text, int n_text_after);
const struct vlm_config *vlm_config(const struct vlm *vlm);
const struct tokenizer *vlm_tokenizer(const struct vlm *vlm);
const struct processor *vlm_processor(const struct vlm *vlm);
const char *vlm_device(const struct vlm *vlm); /* name of the backend that runs */
const char *vlm_dir(const struct vlm *vlm);
/* SHA-256 of the weights, for keys (64 hex digits); computed once, "random" for a geometry. */
enum status vlm_weights_sha256(char hex[65], struct vlm *vlm, struct error *err);
/* Raised when any bit of any answer may change. */
enum { NUMERICS = 2 };

/* Multiply-accumulates of tower and projector for picture 0 of n_images, without what the method itself adds;
 * method NULL: vanilla. */
enum status vlm_image_macs(uint64_t *vision, uint64_t *project, const struct vlm_config *config,
                           const struct method *method, int n_images, struct error *err);

enum status session_open(struct session **out, struct vlm *vlm, int n_threads, struct error *err);
void session_close(struct session *session);
/* Other methods will be asked the same question; other questions will be about the same pictures. */
enum { SHARE_METHODS = 1, SHARE_QUESTIONS = 2 };
/* Prefills of questions that say so (question.share) have in common what they can, in up to n_bytes of
 * decoder states beside the session's own; 0: no more. Answers, figures of the ledger and records are the
 * same bit by bit as of each question alone; times are not. */
void session_share(struct session *session, size_t n_bytes);
/* Lets go of what is held for other methods, or for other questions: their question or picture is through. */
void session_forget(struct session *session, unsigned share);

/* Named intermediates (docs/architecture.md, "Taps"): data is a host copy [rows, cols], valid during the
 * call. Rows of `decoder.N.out` are the rows run in this prefill. Called with want(name) first, so that
 * nothing is copied that nobody asked for. */
struct tap {
    bool (*want)(void *context, const char *name);
    /* Row 0 stands at position `first` of that layer's sequence (0 but in later turns). */
    void (*give)(void *context, const char *name, const float *data, int first, int rows, int cols);
    void *context;
};

/* Visual tokens of one picture: the projector's output. Computed once, used by many questions and threads; by
 * other methods too, unless one works in the tower. */
struct features;
struct encode_options {
    enum image_mode mode;        /* zero: what the checkpoint's files say */
    const struct method *method; /* NULL: vanilla; matters where the method works in the tower (`in_tower`) */
    int image, n_images;         /* which of how many pictures of the question; 0 of 0: the only one */
    uint64_t seed, sample;
    const struct cut_record *replay; /* [n_replay] for method replay */
    int n_replay;
    const struct tap *tap;
};
enum status session_encode(struct features **out, struct session *session, const struct image *image,
                           const struct encode_options *options, struct error *err);
/* Pseudo-random features that count as n visual tokens, for timing without a picture: of options, the method,
 * which of how many pictures, and the seed. Fewer where the method reduces in the tower, which needs n to be
 * the checkpoint's. */
enum status features_random(struct features **out, struct session *session, int n,
                            const struct encode_options *options, struct error *err);
struct features *features_retain(struct features *features);
void features_release(struct features *features);
/* What encoding the picture took; select: of it, what the method added, its time within vision_ms. */
struct features_cost {
    double preprocess_ms, vision_ms, project_ms, select_ms;
    uint64_t macs_vision, macs_project, macs_select;
};
struct features_cost features_cost(const struct features *features);
int features_count(const struct features *features); /* visual tokens */
void features_grid(const struct features *features, int *rows, int *cols);

struct question {
    const char *const *prompts; /* one per turn, with their <image> placeholders; the final strings */
    const int32_t *prompt_ids;  /* instead of prompts: ids with image tokens (bench, conform); or NULL */
    int n_prompt_ids;
    const int *n_turn_ids; /* [n_turns] how many of them are each turn's; NULL: all of them, one turn */
    int n_turns;
    struct features *const *images; /* in placeholder order, over all turns' first prompt */
    int n_images;
    const struct method *method;     /* NULL: vanilla */
    int max_new_tokens;              /* per turn */
    uint64_t seed, sample;           /* for methods that use chance */
    const struct cut_record *replay; /* [n_replay] method replay: this sample's cuts in the trace */
    int n_replay;
    const struct tap *tap;
    bool want_records;  /* fill answer.records */
    unsigned share;     /* SHARE_*: what is worth holding of this prefill, after session_share */
    double deadline_ms; /* by clock_ms: when it is given up; 0: never */
    int n_attention;    /* records of attention of the text after the last image to visual tokens … */
    const int *attention_layers; /* … at these layers (record.attention) */
};

struct turn {
    int32_t *prompt_ids; /* before placeholders are expanded */
    int n_prompt_ids;
    int expanded_len; /* uncut length of the sequence after this prompt */
    int32_t *ids;     /* answer, the eos too where it was generated */
    int n_ids;
    char *text; /* special tokens skipped, not stripped */
};

/* A cut as it happened, for parity, traces, replays and pictures. Places are 0 … n_in − 1 in visual order at
 * that cut. */
struct cut_record {
    enum cut_site site;
    int image;       /* SITE_VISION: which picture; else −1 */
    int turn;        /* of the dialogue, from 0 */
    int layer, n_in; /* decoder layer, −1 before layer 0, or the vision layer */
    bool in_place; /* a cluster replaces its centre, which is among the kept (ToMe); else clusters follow the
                      kept */
    bool keep_class;            /* SITE_VISION: the class token goes on, as the first visual token */
    struct tower_options tower; /* SITE_VISION: how the tower ran, which a replay has to repeat */
    int32_t *ids_in; /* [n_in] what each visual token entering the cut is: number ≥ 0, or −1−c */
    int n_kept, n_recycled, n_clusters, n_raters, rank;
    int32_t *kept;       /* [n_kept] in the order in which they go on */
    int32_t *recycled;   /* [n_recycled] what goes into clusters; a token may stand in several (pool) */
    int32_t *cluster_of; /* [n_recycled] 0 … n_clusters − 1 */
    float *weight;       /* [n_recycled] factor of each in its cluster's sum */
    int32_t *centres;    /* [n_clusters] */
    float *own; /* [n_clusters] factor of the centre's own row; NULL: the centre only lends its position */
    int32_t *raters;           /* places in the text after the last image; n_raters −1: every row */
    float *score;              /* [n_in]; NULL where nothing scored */
    struct patch_grid resized; /* replays, SITE_VISION at LAYER_BEFORE: no cut, but the grid that the picture
                                  was resized to (downsample); else 0 × 0 */
    int n_group_of;            /* the last cut of a picture in the tower: its patches, else 0 */
    int32_t
        *group_of; /* [n_group_of] token (place in the order handed on) that each went into, −1: dropped */
};

/* Frees records [n] and all they hold; NULL is nothing. */
void cut_records_free(struct cut_record *records, int n);

struct attention_record {
    int layer, rows, cols; /* text after the last image × visual tokens entering the layer */
    float *data;           /* head mean */
};

struct answer {
    struct turn *turns;
    int n_turns;
    struct ledger ledger;
    struct plan plan;
    struct cut_record *records;
    int n_records;
    struct attention_record *attention;
    int n_attention;
    float *first_logits; /* [vocabulary], of the last turn's first answer step */
};

enum status session_ask(struct answer *out, struct session *session, const struct question *question,
                        struct error *err);
void answer_free(struct answer *answer);

/* Bytes: packed weights, and the high-water mark of session memory. */
size_t vlm_weight_bytes(const struct vlm *vlm);
/* The backend operations and context of a session, for measurements. */
struct compute *session_compute(struct session *session);
/* Activations of one layer alone. */
size_t session_work_bytes(const struct session *session);
size_t session_peak_bytes(const struct session *session);

#endif
