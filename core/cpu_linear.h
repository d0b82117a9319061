/* Matrix products of the CPU backend on oneDNN: packing, and one task of a product for one thread. */
#ifndef WINNOW_CPU_LINEAR_H
#define WINNOW_CPU_LINEAR_H

#include "cpu_kernels.h"
#include "ops.h"

/* What one thread needs to run products: a stream, memory objects, rows of padding. One thread at a time. */
struct linear_lane;

enum status linear_lane_open(struct linear_lane **out, struct error *err);
void linear_lane_close(struct linear_lane *lane);

/* ops.dtype_check, ops.weight_pack and ops.weight_free */
enum status linear_dtype_check(enum dtype dtype, struct error *err);
enum status linear_pack(struct weight *out, const struct weights_tensor *tensor, int n_out, int n_in,
                        enum dtype dtype, struct error *err);
void linear_free(struct weight *weight);

/* Makes oneDNN run in the calling thread alone; once in each thread that calls what is below. */
void linear_thread_start(void);

/* A bf16 weight multiplies rounded rows: as many bf16 as linear_round_width says, the last tile filled up
 * with rows of zeros to linear_round_rows. The width of an f32 weight is 0: it takes the rows as they are. */
int linear_round_width(const struct weight *weight);
int linear_round_rows(const struct weight *weight, int n);

/* ops.linear is linear_tasks tasks, ops.linear_row linear_row_tasks; each writes its own part of y. x: rows
 * as the weight takes them. */
int linear_tasks(const struct weight *weight, int n);
void linear_task(struct linear_lane *lane, float *y, const void *x, const struct weight *weight,
                 const float *bias, int n, int task);
int linear_row_tasks(const struct weight *weight);
void linear_row_task(struct linear_lane *lane, const struct cpu_kernels *kernels, float *y, const void *x,
                     const struct weight *weight, const float *bias, int task);

/* ops.gemm_rate (cpu_rate.c) */
double cpu_gemm_rate(struct compute *c, enum dtype dtype, int m, int n, int k);

#endif
