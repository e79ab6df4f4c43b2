// Packed weights, the cache and what a step needs beside them. Layouts are the same for every
// instruction set, so this part is built once.
//
// A matrix is stored in panels of 16 outputs. A panel holds, one after another,
//   f32:   for each input the 16 weights;
//   bf16:  for each pair of inputs 16 words, each with the two weights of an output;
//   8-bit: for each group of 64 inputs 16 scales (f32), then for each pair 16 times two bytes.
// The keys of a block of the cache are a panel too: 16 tokens in place of outputs, dimensions in
// place of inputs. Values are stored by token (f32) or by pairs of tokens (bf16).
#ifndef NEXTWORD_MODEL_H
#define NEXTWORD_MODEL_H

#include <stddef.h>
#include <stdint.h>

#include "nextword_cpu.h"

constexpr int PANEL = 16;
constexpr int GROUP = 64;
static_assert(NEXTWORD_BLOCK_TOKENS == PANEL, "a block of keys is a panel");

constexpr int64_t round_up(int64_t value, int64_t multiple) {
    return (value + multiple - 1) / multiple * multiple;
}

// Zeroed memory that is a multiple of large pages where it is large.
struct Memory {
    uint8_t *data = nullptr;
    size_t size = 0;

    Memory() = default;
    Memory(const Memory &) = delete;
    Memory &operator=(const Memory &) = delete;
    ~Memory();
    bool take(size_t num_bytes);  // what was held before is given back
    bool grow(size_t num_bytes);  // the same where it is too small; contents are lost
};

struct Matrix {
    int32_t outputs = 0;
    int32_t inputs = 0;
    int32_t type = NEXTWORD_F32;
    size_t panel_bytes = 0;
    uint8_t *data = nullptr;

    void shape(int32_t num_outputs, int32_t num_inputs, int32_t weight_type);
    int num_panels() const { return (outputs + PANEL - 1) / PANEL; }
    size_t num_bytes() const { return panel_bytes * size_t(num_panels()); }
    const uint8_t *panel(int number) const { return data + panel_bytes * size_t(number); }
    // Where the weights of an input begin in a panel; of 8-bit weights an input that begins a group.
    static size_t offset(int32_t type, int input);
    // Round and store one output.
    void pack(int output, const float *weights);
    // What one output was rounded to.
    void unpack(int output, float *weights) const;
};

struct Layer {
    Matrix qkv;      // outputs of q, k and v one after another
    Matrix o;
    Matrix gate_up;  // panels of gate and up in turns
    Matrix down;
    // Null where the network has none.
    float *attention_norm = nullptr, *mlp_norm = nullptr;
    float *qkv_bias = nullptr, *o_bias = nullptr, *q_norm = nullptr, *k_norm = nullptr;
    uint32_t loaded = 0;  // bits by nextword_tensor
};

struct Kernels;

struct nextword_model {
    nextword_shape shape = {};
    nextword_pool *pool = nullptr;
    const Kernels *kernels = nullptr;
    // All that follows lies in one piece of memory, in the order in which a step reads it.
    Memory weights;
    float *cosines = nullptr, *sines = nullptr;
    Matrix output;     // of a tied network the embedding too
    Matrix embedding;  // otherwise, f32 or bf16
    float *final_norm = nullptr;
    uint32_t loaded = 0;
    Layer *layers = nullptr;
    // Of a step; they grow.
    Memory hidden, normed, qkv, attended, inner, rounded, row_scales, row_places;

    ~nextword_model() { delete[] layers; }
    int query_width() const { return shape.num_heads * shape.head_dim; }
    int key_width() const { return shape.num_kv_heads * shape.head_dim; }
    const Matrix &embedding_matrix() const { return shape.is_tied ? output : embedding; }
};

struct nextword_cache {
    const nextword_model *model = nullptr;
    int32_t num_blocks = 0;
    int32_t type = NEXTWORD_F32;
    int32_t value_width = 0;  // D rounded up to whole panels
    size_t key_bytes = 0;     // of one block and head
    size_t value_bytes = 0;
    // [blocks, L, K heads, keys then values]: of one block together, or else the first token in memory
    // that was never used waits until the system has cleared a large page of it for every layer.
    Memory memory;

    // Of one layer.
    size_t block_bytes() const {
        return (key_bytes + value_bytes) * size_t(model->shape.num_kv_heads);
    }
    uint8_t *keys(int layer, int block, int head) const {
        const size_t num_layers = size_t(model->shape.num_layers);
        return memory.data + block_bytes() * (size_t(block) * num_layers + size_t(layer)) +
               (key_bytes + value_bytes) * size_t(head);
    }
};

// What is built once per instruction set.
struct Kernels {
    const char *name;
    void (*step)(nextword_model &model, nextword_cache &cache, const nextword_step_input &input);
};

// The instruction set of that name (null: the best); null where the build or processor lacks it.
const Kernels *kernels_of(const char *name);

// Numbers from one row to the next of a buffer: whole vectors, and never a power of two, for rows
// that lie a power of two apart share the same few places of a processor's cache.
constexpr size_t row_stride(int64_t width) { return size_t(round_up(width, 64) + 16); }

inline float bf16_to_float(uint16_t bits) {
    const uint32_t word = uint32_t(bits) << 16;
    float value;
    __builtin_memcpy(&value, &word, sizeof value);
    return value;
}

// To the nearest, ties to even; NaN stays NaN.
inline uint16_t float_to_bf16(float value) {
    uint32_t word;
    __builtin_memcpy(&word, &value, sizeof word);
    if ((word & 0x7fffffffu) > 0x7f800000u) return uint16_t(word >> 16 | 0x40u);
    return uint16_t((word + 0x7fffu + (word >> 16 & 1u)) >> 16);
}

#endif
