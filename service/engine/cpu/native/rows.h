// What is done to one row of numbers at a time: norms, rounding, rotation, the gate.
#ifndef NEXTWORD_ROWS_H
#define NEXTWORD_ROWS_H

#include "model.h"
#include "vector.h"

namespace NEXTWORD_ISA {

// x / sqrt(mean(x^2) + epsilon) * weights (Zhang and Sennrich 2019).
INLINE void normalize(const float *x, const float *weights, int width, float epsilon, float *out) {
    F squares[2] = {};
    int place = 0;
    for (; place + 2 * LANES <= width; place += 2 * LANES) {
        for (int part = 0; part < 2; part++) {
            const F v = load(x + place + part * LANES);
            squares[part] = fma(v, v, squares[part]);
        }
    }
    float sum = sum_of(squares[0] + squares[1]);
    for (int rest = place; rest < width; rest++) sum += x[rest] * x[rest];
    const float factor = 1.0f / __builtin_sqrtf(sum / float(width) + epsilon);
    for (int number = 0; number < width; number++) out[number] = x[number] * factor * weights[number];
}

// To 16 bits; returns the scale. What is not finite makes the scale NaN.
INLINE float round_row(const float *x, int width, int16_t *out) {
    const int whole = width / LANES * LANES;
    F largest_lanes = {}, spoiled_lanes = {};
    for (int place = 0; place < whole; place += LANES) {
        const F v = load(x + place);
        largest_lanes = max(max(v, -v), largest_lanes);
        spoiled_lanes += v * all(0.0f);
    }
    float largest = max_of(largest_lanes), spoiled = sum_of(spoiled_lanes);
    for (int place = whole; place < width; place++) {
        const float size = __builtin_fabsf(x[place]);
        largest = size > largest ? size : largest;
        spoiled += x[place] * 0.0f;
    }
    const float inverse = largest > 1e-30f ? 32767.0f / largest : 0.0f;
    for (int place = 0; place < whole; place += LANES) {
        store_low_halves(out + place, to_int(load(x + place) * all(inverse)));
    }
    for (int place = whole; place < width; place++) {
        out[place] = int16_t(to_int(all(x[place] * inverse))[0]);
    }
    if (width % 2 != 0) out[width] = 0;
    return largest / 32767.0f + spoiled;
}

// To bf16, as many numbers as pairs need; returns the scale, which is 1.
INLINE float round_row_to_bf16(const float *x, int width, int16_t *out) {
    const int whole = width / LANES * LANES;
    for (int place = 0; place < whole; place += LANES) {
        store_low_halves(out + place, round_to_bf16(load(x + place)));
    }
    for (int place = whole; place < width; place++) out[place] = int16_t(float_to_bf16(x[place]));
    if (width % 2 != 0) out[width] = 0;
    return 1.0f;
}

// Turn the pairs (i, i + width / 2) of a head by the position's angles (Su et al. 2021).
INLINE void rotate(float *head, int width, const float *cosines, const float *sines) {
    float *other = head + width / 2;
    for (int pair = 0; pair < width / 2; pair++) {
        const float first = head[pair], second = other[pair];
        head[pair] = first * cosines[pair] - second * sines[pair];
        other[pair] = second * cosines[pair] + first * sines[pair];
    }
}

// silu(gate) * up for a panel (Shazeer 2020).
INLINE void gate_panel(const float *gate, const float *up, F scale, float *out) {
    for (int lane = 0; lane < PANEL; lane += LANES) {
        const F g = load(gate + lane) * scale, u = load(up + lane) * scale;
        store(out + lane, g / (all(1.0f) + exponential(-g)) * u);
    }
}

}  // namespace NEXTWORD_ISA

#endif
