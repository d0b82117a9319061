/* Matrix products of the CPU backend on oneDNN: packing, and one task of a product for one thread. */
#ifndef WINNOW_CPU_LINEAR_H
#define WINNOW_CPU_LINEAR_H

#include "cpu_kernels.h"
#include "ops.h"

/* What one thread needs to run products: a stream, memory objects, rows of padding. One thread at a time. */
struct linear_lane;

enum status linear_lane_open(struct linear_lane **out, struct error *err);
void linear_lane_close(struct linear_lane *lane);

/* ops.weight_pack and ops.weight_free */
enum status linear_pack(struct weight *out, const struct weights_tensor *tensor, int n_out, int n_in,
                        struct error *err);
void linear_free(struct weight *weight);

/* Makes oneDNN run in the calling thread alone; once in each thread that calls what is below. */
void linear_thread_start(void);

/* ops.linear is linear_tasks tasks, ops.linear_row linear_row_tasks; each writes its own part of y. */
int linear_tasks(const struct weight *weight, int n);
void linear_task(struct linear_lane *lane, float *y, const float *x, const struct weight *weight,
                 const float *bias, int n, int task);
int linear_row_tasks(const struct weight *weight);
void linear_row_task(struct linear_lane *lane, const struct cpu_kernels *kernels, float *y, const float *x,
                     const struct weight *weight, const float *bias, int task);

/* ops.gemm_rate (cpu_rate.c) */
double cpu_gemm_rate(struct compute *c, int m, int n, int k);

#endif
