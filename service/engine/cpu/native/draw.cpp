/* Draws tokens from rows of logits: which rows, on which instruction set, in whose memory. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "draw_kernels.h"
#include "draw_row.h"
#include "model.h"
#include "nextword_draw.h"

namespace nextword {
namespace {

struct Set {
    const char *name;
    const DrawKernels *kernels;
};

/* The sets of this build that this processor has, best first; nullptr as a name ends them. */
const Set *sets() {
    static const struct Sets {
        Set found[5];
        Sets() {
            int count = 0;
            /* The step's kernels need the same of the processor, and know what it has. */
            auto add = [&](const char *name, const DrawKernels *kernels) {
                if (::kernels_of(name) != nullptr) found[count++] = {name, kernels};
            };
#if NEXTWORD_HAS_AVX512BF16
            add("avx512bf16", &avx512bf16::draw_kernels);
#endif
#if NEXTWORD_HAS_AVX512
            add("avx512", &avx512::draw_kernels);
#endif
#if NEXTWORD_HAS_AVX2
            add("avx2", &avx2::draw_kernels);
#endif
            add("baseline", &baseline::draw_kernels);
            found[count] = {nullptr, nullptr};
        }
    } known;
    return known.found;
}

const DrawKernels *draw_kernels_of(const char *name) {
    for (const Set *set = sets(); set->name; set++)
        if (!name || strcmp(set->name, name) == 0) return set->kernels;
    return nullptr;
}

/* Room for one row, kept for the next ones. */
struct Room {
    DrawScratch scratch = {};
    int32_t size = 0;
    void *memory = nullptr;

    ~Room() { free(memory); }

    bool reserve(int32_t vocabulary) {
        if (vocabulary <= size) return true;
        const size_t numbers = (size_t(vocabulary) + 63) & ~size_t(63);
        const size_t stretches = numbers / DRAW_STRETCH + 8;
        void *fresh = calloc(1, 6 * 4 * numbers + 8 * stretches + 64);
        if (!fresh) return false;
        free(memory);
        memory = fresh;
        size = vocabulary;
        char *next = static_cast<char *>(fresh);
        auto take = [&next](size_t bytes) { return next += bytes, next - bytes; };
        scratch.stretches = reinterpret_cast<int64_t *>(take(8 * stretches));
        scratch.changed = reinterpret_cast<float *>(take(4 * numbers));
        scratch.values = reinterpret_cast<float *>(take(4 * numbers));
        scratch.places = reinterpret_cast<int32_t *>(take(4 * numbers));
        scratch.weights = reinterpret_cast<int32_t *>(take(4 * numbers));
        scratch.order = reinterpret_cast<int32_t *>(take(4 * numbers));
        scratch.counts = reinterpret_cast<int32_t *>(take(4 * numbers));
        return true;
    }
};

thread_local Room room;

bool are_tokens(const int32_t *ids, int64_t count, int32_t vocabulary) {
    for (int64_t i = 0; i < count; i++)
        if (ids[i] < 0 || ids[i] >= vocabulary) return false;
    return true;
}

int32_t check(const nextword_draw_settings &settings, int64_t position, int32_t vocabulary) {
    if (position < settings.num_prompt_tokens || settings.num_prompt_tokens < 0 ||
        settings.top_k < 0 || settings.num_biased < 0 || settings.num_ending < 0)
        return NEXTWORD_BAD_ARGUMENT;
    if (settings.is_penalised && (!settings.text || position > INT32_MAX))
        return NEXTWORD_BAD_ARGUMENT;
    if (settings.is_penalised && !are_tokens(settings.text, position, vocabulary))
        return NEXTWORD_BAD_TOKEN;
    if (!are_tokens(settings.biased_ids, settings.num_biased, vocabulary) ||
        !are_tokens(settings.ending_ids, settings.num_ending, vocabulary))
        return NEXTWORD_BAD_TOKEN;
    return NEXTWORD_OK;
}

}  // namespace
}  // namespace nextword

using namespace nextword;

int32_t nextword_draw(const float *logits, int64_t stride, int32_t vocab_size, int32_t num_rows,
                      const int32_t *logit_rows, const nextword_draw_settings *const *settings,
                      const int64_t *positions, int32_t *drawn, const char *isa) {
    const DrawKernels *kernels = draw_kernels_of(isa);
    if (!kernels) return NEXTWORD_UNKNOWN_ISA;
    if (vocab_size < 1 || num_rows < 0 || stride < vocab_size) return NEXTWORD_BAD_ARGUMENT;
    if (!room.reserve(vocab_size)) return NEXTWORD_OUT_OF_MEMORY;
    for (int32_t row = 0; row < num_rows; row++) {
        const int32_t status = check(*settings[row], positions[row], vocab_size);
        if (status != NEXTWORD_OK) return status;
    }
    for (int32_t row = 0; row < num_rows; row++)
        drawn[row] = draw_row(*kernels, logits + logit_rows[row] * stride, vocab_size,
                              *settings[row], positions[row], room.scratch);
    return NEXTWORD_OK;
}

int32_t nextword_draw_weights(const float *logits, int32_t size, float temperature,
                              int32_t *weights, const char *isa) {
    const DrawKernels *kernels = draw_kernels_of(isa);
    if (!kernels) return NEXTWORD_UNKNOWN_ISA;
    if (size < 1) return NEXTWORD_BAD_ARGUMENT;
    if (!room.reserve(size)) return NEXTWORD_OUT_OF_MEMORY;
    const float largest = kernels->largest(logits, size, size + 32, room.scratch.values);
    if (!isfinite(largest)) return NEXTWORD_BAD_ARGUMENT;
    kernels->weights(logits, size, largest, temperature, weights, room.scratch.stretches);
    return NEXTWORD_OK;
}
