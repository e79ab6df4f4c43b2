// A whole step of the network, built once per instruction set.

#include "multiply.h"
#include "row_attention.h"
#include "rows.h"
#include "step.h"

namespace NEXTWORD_ISA {

namespace {

// Sums of some panels, times a scale, plus the bias where there is one.
INLINE F finished(const float *sums, int number, F scale, const float *bias, int column) {
    const F value = load(sums + number) * scale;
    return bias == nullptr ? value : value + load(bias + column);
}

void add_to_hidden(Step &step, const Matrix &matrix, const float *x, size_t stride,
                   const float *bias) {
    multiply(step, matrix, step.num_rows, x, stride,
             [&](int row, int panel, int count, const float *sums, F scale) {
                 float *hidden = step.hidden + size_t(row) * step.hidden_stride;
                 for (int number = 0; number < count * PANEL; number += LANES) {
                     const int column = panel * PANEL + number;
                     store(hidden + column, load(hidden + column) +
                                                finished(sums, number, scale, bias, column));
                 }
             });
}

void normalize_rows(Step &step, const float *weights) {
    const int width = step.shape.hidden_size;
    step.each_row(step.num_rows, width, [&](int row) {
        const size_t place = size_t(row) * step.hidden_stride;
        normalize(step.hidden + place, weights, width, step.shape.rms_norm_eps,
                  step.normed + place);
    });
}

void keep_hidden(Step &step, int place, const float *rows) {
    for (int number = 0; number < step.input.num_inspections; number++) {
        const nextword_inspection &seen = step.input.inspections[number];
        if (seen.hidden_states == nullptr) continue;
        const int tokens = step.input.chunk_tokens[seen.chunk], width = step.shape.hidden_size;
        for (int token = 0; token < tokens; token++) {
            memcpy(seen.hidden_states + (int64_t(place) * tokens + token) * width,
                   rows + size_t(step.first_rows[seen.chunk] + token) * step.hidden_stride,
                   size_t(width) * sizeof(float));
        }
    }
}

void compute_layer(Step &step, int layer) {
    const Layer &weights = step.model.layers[layer];
    normalize_rows(step, weights.attention_norm);
    const float *bias = weights.qkv_bias;
    multiply(step, weights.qkv, step.num_rows, step.normed, step.hidden_stride,
             [&](int row, int panel, int count, const float *sums, F scale) {
                 float *out = step.qkv + size_t(row) * step.qkv_stride + panel * PANEL;
                 for (int number = 0; number < count * PANEL; number += LANES) {
                     store(out + number,
                           finished(sums, number, scale, bias, panel * PANEL + number));
                 }
             });
    attend_rows(step, layer);
    add_to_hidden(step, weights.o, step.attended, step.attended_stride,
                  weights.o_bias);
    normalize_rows(step, weights.mlp_norm);
    static_assert(PIECE_PANELS % 2 == 0, "gate and up stand side by side");
    multiply(step, weights.gate_up, step.num_rows, step.normed, step.hidden_stride,
             [&](int row, int panel, int count, const float *sums, F scale) {
                 float *out = step.inner + size_t(row) * step.inner_stride + panel / 2 * PANEL;
                 for (int pair = 0; pair < count / 2; pair++) {
                     gate_panel(sums + 2 * pair * PANEL, sums + (2 * pair + 1) * PANEL, scale,
                                out + pair * PANEL);
                 }
             });
    add_to_hidden(step, weights.down, step.inner, step.inner_stride, nullptr);
}

void compute_logits(Step &step) {
    const int rows = step.input.num_logit_rows, width = step.shape.hidden_size;
    if (rows == 0) return;
    step.each_row(rows, width, [&](int row) {
        const size_t source = size_t(step.input.logit_tokens[row]) * step.hidden_stride;
        normalize(step.hidden + source, step.model.final_norm, width,
                  step.shape.rms_norm_eps, step.normed + size_t(row) * step.hidden_stride);
    });
    const int vocab_size = step.shape.vocab_size;
    multiply(step, step.model.output, rows, step.normed, step.hidden_stride,
             [&](int row, int panel, int count, const float *sums, F scale) {
                 float *out = step.input.logits + row * step.input.logits_stride;
                 for (int number = 0; number < count * PANEL; number += LANES) {
                     const int column = panel * PANEL + number, left = vocab_size - column;
                     const F value = load(sums + number) * scale;
                     if (left >= LANES) {
                         store(out + column, value);
                     } else if (left > 0) {
                         memcpy(out + column, &value, size_t(left) * sizeof(float));
                     }
                 }
             });
}

void compute_step(nextword_model &model, nextword_cache &cache, const nextword_step_input &input) {
    Step step(model, cache, input);
    const Matrix &embedding = model.embedding_matrix();
    step.each_row(step.num_rows, step.shape.hidden_size, [&](int row) {
        embedding.unpack(input.token_ids[row], step.hidden + size_t(row) * step.hidden_stride);
    });
    for (int layer = 0; layer < step.shape.num_layers; layer++) {
        keep_hidden(step, layer, step.hidden);
        compute_layer(step, layer);
    }
    if (input.num_inspections > 0) {
        normalize_rows(step, model.final_norm);
        keep_hidden(step, step.shape.num_layers, step.normed);
    }
    compute_logits(step);
}

#define NEXTWORD_TEXT(name) #name
#define NEXTWORD_NAME(name) NEXTWORD_TEXT(name)

}  // namespace

extern const Kernels kernels;
const Kernels kernels = {NEXTWORD_NAME(NEXTWORD_ISA), compute_step};

}  // namespace NEXTWORD_ISA
