/* What drawing needs of a processor's vector instructions; one table for each set. */
#ifndef NEXTWORD_DRAW_KERNELS_H
#define NEXTWORD_DRAW_KERNELS_H

#include <stdint.h>

namespace nextword {

/* A row's weights come with the sum of each stretch of so many of them. */
constexpr int32_t DRAW_STRETCH = 256;

struct DrawKernels {
    /* The largest number; NaN where one is NaN. maxima: that of each `group` of them, the last
     * being shorter; `group` is a multiple of 32. */
    float (*largest)(const float *values, int32_t size, int32_t group, float *maxima);

    /* Places of the numbers that are at least `limit`, rising; how many. */
    int32_t (*at_least)(const float *values, int32_t size, float limit, int32_t *places);

    /* The first place of a number that is there. */
    int32_t (*first_equal)(const float *values, int32_t size, float value);

    /* exp((value - largest) / temperature) * 2^30, rounded; stretches: their sums. The whole sum. */
    int64_t (*weights)(const float *values, int32_t size, float largest, float temperature,
                       int32_t *weights, int64_t *stretches);
};

namespace baseline {
extern const DrawKernels draw_kernels;
}
namespace avx2 {
extern const DrawKernels draw_kernels;
}
namespace avx512 {
extern const DrawKernels draw_kernels;
}
namespace avx512bf16 {
extern const DrawKernels draw_kernels;
}

}  // namespace nextword
#endif
