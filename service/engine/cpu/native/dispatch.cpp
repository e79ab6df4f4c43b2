// Which of the builds of isa_step.cpp computes, decided where the library runs.

#include <string.h>

#include "model.h"

namespace baseline {
extern const Kernels kernels;
}
#if defined(NEXTWORD_HAS_AVX2)
namespace avx2 {
extern const Kernels kernels;
}
#endif
#if defined(NEXTWORD_HAS_AVX512)
namespace avx512 {
extern const Kernels kernels;
}
#endif
#if defined(NEXTWORD_HAS_AVX512BF16)
namespace avx512bf16 {
extern const Kernels kernels;
}
#endif

namespace {

constexpr int MAX_SETS = 4;

// Those that this processor has, best first; how many.
int usable(const Kernels *(&sets)[MAX_SETS]) {
    int count = 0;
#if defined(NEXTWORD_HAS_AVX2)
    __builtin_cpu_init();
    [[maybe_unused]] const bool has_512 =
        __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512vnni");
#if defined(NEXTWORD_HAS_AVX512BF16)
    if (has_512 && __builtin_cpu_supports("avx512bf16")) sets[count++] = &avx512bf16::kernels;
#endif
#if defined(NEXTWORD_HAS_AVX512)
    if (has_512) sets[count++] = &avx512::kernels;
#endif
    // Every processor with AVX2 has the conversions of f16 too.
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        sets[count++] = &avx2::kernels;
    }
#endif
    sets[count++] = &baseline::kernels;
    return count;
}

}  // namespace

const Kernels *kernels_of(const char *name) {
    const Kernels *sets[MAX_SETS];
    const int count = usable(sets);
    for (int number = 0; number < count; number++) {
        if (name == nullptr || strcmp(name, sets[number]->name) == 0) return sets[number];
    }
    return nullptr;
}

const char *nextword_isas(void) {
    static char text[64];
    const Kernels *sets[MAX_SETS];
    const int count = usable(sets);
    char *end = text;
    for (int number = 0; number < count; number++) {
        if (number > 0) *end++ = ' ';
        end = stpcpy(end, sets[number]->name);
    }
    return text;
}
