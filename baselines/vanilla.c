/* No reduction: every visual token goes through every layer. */
#include "reducer.h"

const struct reducer reducer_vanilla = {
    .name = "vanilla",
    .doc = "no reduction",
    .dense = true,
    .paper = "Liu et al., Improved Baselines with Visual Instruction Tuning, CVPR 2024",
};
