// A product of rows with a matrix, in pieces for the threads.
#ifndef NEXTWORD_MULTIPLY_H
#define NEXTWORD_MULTIPLY_H

#include "products.h"
#include "rows.h"
#include "step.h"

namespace NEXTWORD_ISA {

namespace {

template <class Weights>
struct Rounding;  // how rows are written before they are multiplied

struct NoRounding {
    static constexpr bool IS_ROUNDED = false;
    static float round(const float *, int, float *) { return 1.0f; }
};
template <>
struct Rounding<FloatWeights> : NoRounding {};
template <>
struct Rounding<BfloatWeights> : NoRounding {};
template <>
struct Rounding<ByteWeights> {
    static constexpr bool IS_ROUNDED = true;
    static float round(const float *x, int width, int16_t *out) { return round_row(x, width, out); }
};
#if defined(__AVX512BF16__)
template <>
struct Rounding<BfloatPairWeights> {
    static constexpr bool IS_ROUNDED = true;
    static float round(const float *x, int width, int16_t *out) {
        return round_row_to_bf16(x, width, out);
    }
};
#endif

// `rows` rows of x times a matrix. finish(row, panel, count, sums, scale): what becomes of the sums
// of some panels of a row.
template <class Weights, class Finish>
void multiply_as(Step &step, const Matrix &matrix, int rows, const float *x, size_t stride,
                 Finish finish) {
    using Number = typename Weights::Number;
    nextword_model &model = step.model;
    const Number *numbers = (const Number *)x;
    float *scales = nullptr;
    if (Rounding<Weights>::IS_ROUNDED) {
        Number *rounded = (Number *)model.rounded.data;
        scales = (float *)model.row_scales.data;
        step.each_row(rows, matrix.inputs, [&](int row) {
            scales[row] = Rounding<Weights>::round(x + size_t(row) * stride, matrix.inputs,
                                                   rounded + size_t(row) * stride);
        });
        numbers = rounded;
    }
    const int num_blocks = (rows + MAX_PIECE_ROWS - 1) / MAX_PIECE_ROWS;
    const int num_groups = (matrix.num_panels() + PIECE_PANELS - 1) / PIECE_PANELS;
    model.pool->run(num_blocks * num_groups, [&](int piece) {
        // All rows with the same panels one after another: the panels stay near meanwhile.
        const int group = piece / num_blocks, block = piece % num_blocks;
        const int row = int(int64_t(rows) * block / num_blocks);
        const int end = int(int64_t(rows) * (block + 1) / num_blocks);
        const int panel = group * PIECE_PANELS, left = matrix.num_panels() - panel;
        const int count = left < PIECE_PANELS ? left : PIECE_PANELS;
        alignas(64) float sums[MAX_PIECE_ROWS * PIECE_PANELS * PANEL];
        many_rows<Weights>(matrix, panel, count, end - row, numbers + size_t(row) * stride, stride,
                           sums);
        for (int place = row; place < end; place++) {
            finish(place, panel, count, sums + (place - row) * PIECE_PANELS * PANEL,
                   all(scales == nullptr ? 1.0f : scales[place]));
        }
    });
}

template <class Finish>
void multiply(Step &step, const Matrix &matrix, int rows, const float *x, size_t stride,
              Finish finish) {
    if (matrix.type == NEXTWORD_F32) {
        multiply_as<FloatWeights>(step, matrix, rows, x, stride, finish);
    } else if (matrix.type == NEXTWORD_BF16) {
#if defined(__AVX512BF16__)
        multiply_as<BfloatPairWeights>(step, matrix, rows, x, stride, finish);
#else
        multiply_as<BfloatWeights>(step, matrix, rows, x, stride, finish);
#endif
    } else {
        multiply_as<ByteWeights>(step, matrix, rows, x, stride, finish);
    }
}

}  // namespace

}  // namespace NEXTWORD_ISA

#endif
