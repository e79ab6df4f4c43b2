// Products of some rows with panels of weights.
//
// Every output has one sum that takes its inputs in their order: the shape of a tile, where a row
// stands in it and where the inputs are cut only decide where the sum is kept meanwhile. So a row's
// bits depend on nothing but itself and the weights.
#ifndef NEXTWORD_PRODUCTS_H
#define NEXTWORD_PRODUCTS_H

#include "model.h"
#include "vector.h"

namespace NEXTWORD_ISA {

constexpr int PARTS = PANEL / LANES;  // vectors of a panel's 16 outputs

// The kinds of weights. A row's numbers are f32, or pairs of 16 bits.
// Keeps what the compiler would read early from filling the registers that hold the sums.
#define UNROLL _Pragma("GCC unroll 8")
#define NEXTWORD_READ_LATER() __asm__ __volatile__("" ::: "memory")

template <int ROWS, int PANELS>
INLINE void add_input(F (&sums)[ROWS][PANELS][PARTS], const F (&weights)[PANELS][PARTS],
                      const float *rows, size_t stride) {
    UNROLL for (int row = 0; row < ROWS; row++) {
        const F number = all(rows[size_t(row) * stride]);
        UNROLL for (int panel = 0; panel < PANELS; panel++) {
            UNROLL for (int part = 0; part < PARTS; part++) {
                accumulate(sums[row][panel][part], weights[panel][part], number);
            }
        }
    }
    NEXTWORD_READ_LATER();
}

struct FloatWeights {
    using Number = float;
    static constexpr size_t STEP = PANEL * 4;  // bytes of an input

    template <int ROWS, int PANELS>
    INLINE void add(F (&sums)[ROWS][PANELS][PARTS], const uint8_t *const (&panels)[PANELS],
                    size_t step, int num_inputs, const float *rows, size_t stride) {
        size_t place = 0;
        for (int input = 0; input < num_inputs; input++, place += step) {
            F weights[PANELS][PARTS];
            UNROLL for (int panel = 0; panel < PANELS; panel++) {
                if (ROWS == 1) __builtin_prefetch(panels[panel] + place + AHEAD);
                UNROLL for (int part = 0; part < PARTS; part++) {
                    weights[panel][part] = load((const float *)(panels[panel] + place) + part * LANES);
                }
            }
            add_input<ROWS, PANELS>(sums, weights, rows + input, stride);
        }
    }

    static constexpr size_t AHEAD = 1024;
};

struct BfloatWeights {
    using Number = float;
    static constexpr size_t STEP = PANEL * 4;  // bytes of a pair of inputs

    template <int ROWS, int PANELS>
    INLINE void add(F (&sums)[ROWS][PANELS][PARTS], const uint8_t *const (&panels)[PANELS],
                    size_t step, int num_inputs, const float *rows, size_t stride) {
        size_t place = 0;
        int input = 0;
        F weights[PANELS][PARTS];
        for (; input + 1 < num_inputs; input += 2, place += step) {
            UNROLL for (int panel = 0; panel < PANELS; panel++) {
                if (ROWS == 1) __builtin_prefetch(panels[panel] + place + AHEAD);
                UNROLL for (int part = 0; part < PARTS; part++) {
                    weights[panel][part] =
                        first_bf16(load_words(panels[panel] + place + part * LANES * 4));
                }
            }
            add_input<ROWS, PANELS>(sums, weights, rows + input, stride);
            UNROLL for (int panel = 0; panel < PANELS; panel++) {
                UNROLL for (int part = 0; part < PARTS; part++) {
                    weights[panel][part] =
                        second_bf16(load_words(panels[panel] + place + part * LANES * 4));
                }
            }
            add_input<ROWS, PANELS>(sums, weights, rows + input + 1, stride);
        }
        if (input == num_inputs) return;
        UNROLL for (int panel = 0; panel < PANELS; panel++) {
            UNROLL for (int part = 0; part < PARTS; part++) {
                weights[panel][part] =
                    first_bf16(load_words(panels[panel] + place + part * LANES * 4));
            }
        }
        add_input<ROWS, PANELS>(sums, weights, rows + input, stride);
    }

    static constexpr size_t AHEAD = 1024;
};

// Whole numbers are summed exactly within a group, and the groups in their order.
struct ByteWeights {
    using Number = int16_t;
    static constexpr size_t STEP = 0;  // groups have their own

    template <int ROWS, int PANELS>
    INLINE void add(F (&sums)[ROWS][PANELS][PARTS], const uint8_t *const (&panels)[PANELS], size_t,
                    int num_inputs, const int16_t *rows, size_t stride) {
        size_t place = 0;
        for (int first = 0; first < num_inputs; first += GROUP) {
            const int size = num_inputs - first < GROUP ? num_inputs - first : GROUP;
            I whole[ROWS][PANELS][PARTS] = {};
            const size_t scales = place;
            place += PANEL * 4;
            for (int input = first; input < first + size; input += 2, place += PANEL * 2) {
                I pairs[PANELS][PARTS];
                UNROLL for (int panel = 0; panel < PANELS; panel++) {
                    if (ROWS == 1) __builtin_prefetch(panels[panel] + place + AHEAD);
                    UNROLL for (int part = 0; part < PARTS; part++) {
                        pairs[panel][part] =
                            widen((const int8_t *)panels[panel] + place + part * LANES * 2);
                    }
                }
                UNROLL for (int row = 0; row < ROWS; row++) {
                    const I numbers = all_int(load_word(rows + size_t(row) * stride + input));
                    UNROLL for (int panel = 0; panel < PANELS; panel++) {
                        UNROLL for (int part = 0; part < PARTS; part++) {
                            I &sum = whole[row][panel][part];
                            sum = dot(sum, pairs[panel][part], numbers);
                        }
                    }
                }
                NEXTWORD_READ_LATER();
            }
            UNROLL for (int panel = 0; panel < PANELS; panel++) {
                UNROLL for (int part = 0; part < PARTS; part++) {
                    const F scale = load((const float *)(panels[panel] + scales) + part * LANES);
                    UNROLL for (int row = 0; row < ROWS; row++) {
                        F &sum = sums[row][panel][part];
                        sum = fma(to_float(whole[row][panel][part]), scale, sum);
                    }
                }
            }
        }
    }

    static constexpr size_t AHEAD = 1024;
};

#if defined(__AVX512BF16__)
// Rows rounded to bf16 too: the processor multiplies pairs and sums them in one instruction.
struct BfloatPairWeights {
    using Number = int16_t;
    static constexpr size_t STEP = PANEL * 4;

    template <int ROWS, int PANELS>
    INLINE void add(F (&sums)[ROWS][PANELS][PARTS], const uint8_t *const (&panels)[PANELS],
                    size_t step, int num_inputs, const int16_t *rows, size_t stride) {
        size_t place = 0;
        for (int input = 0; input < num_inputs; input += 2, place += step) {
            UNROLL for (int panel = 0; panel < PANELS; panel++) {
                if (ROWS == 1) __builtin_prefetch(panels[panel] + place + BfloatWeights::AHEAD);
                const U words = load_words(panels[panel] + place);
                UNROLL for (int row = 0; row < ROWS; row++) {
                    const int16_t *numbers = rows + size_t(row) * stride + input;
                    F &sum = sums[row][panel][0];
                    sum = dot_bf16(sum, words, (U)all_int(load_word(numbers)));
                }
            }
        }
    }
};
#endif

// ROWS rows times PANELS panels into `out`, or added to what is there.
template <class Weights, int ROWS, int PANELS>
static __attribute__((noinline)) void tile(const uint8_t *const *panel_list, size_t step,
                                           int num_inputs, const typename Weights::Number *rows,
                                           size_t stride, float *out, size_t out_stride,
                                           bool is_added) {
    const uint8_t *panels[PANELS];
    UNROLL for (int panel = 0; panel < PANELS; panel++) panels[panel] = panel_list[panel];
    F sums[ROWS][PANELS][PARTS];
    UNROLL for (int row = 0; row < ROWS; row++) {
        UNROLL for (int panel = 0; panel < PANELS; panel++) {
            UNROLL for (int part = 0; part < PARTS; part++) {
                const float *place = out + size_t(row) * out_stride + panel * PANEL + part * LANES;
                sums[row][panel][part] = is_added ? load(place) : F{};
            }
        }
    }
    Weights::template add<ROWS, PANELS>(sums, panels, step, num_inputs, rows, stride);
    UNROLL for (int row = 0; row < ROWS; row++) {
        UNROLL for (int panel = 0; panel < PANELS; panel++) {
            UNROLL for (int part = 0; part < PARTS; part++) {
                store(out + size_t(row) * out_stride + panel * PANEL + part * LANES,
                      sums[row][panel][part]);
            }
        }
    }
}

// Panels of a tile: as many sums as keep the arithmetic busy and fit the registers.
constexpr int MAX_TILE_ROWS = 6;
constexpr int tile_panels(int num_rows) {
    return LANES == 16 || num_rows == 1 ? 4 : num_rows == 2 ? 2 : 1;
}

template <class Weights, int ROWS>
INLINE void row_tiles(const uint8_t *const *panels, int num_panels, size_t step, int num_inputs,
                      const typename Weights::Number *rows, size_t stride, float *out,
                      size_t out_stride, bool is_added) {
    constexpr int WIDE = tile_panels(ROWS);
    int panel = 0;
    for (; panel + WIDE <= num_panels; panel += WIDE) {
        tile<Weights, ROWS, WIDE>(panels + panel, step, num_inputs, rows, stride,
                                  out + panel * PANEL, out_stride, is_added);
    }
    for (; panel < num_panels; panel++) {
        tile<Weights, ROWS, 1>(panels + panel, step, num_inputs, rows, stride, out + panel * PANEL,
                               out_stride, is_added);
    }
}

// At most MAX_TILE_ROWS rows with some panels.
template <class Weights>
static void few_rows(int num_rows, const uint8_t *const *panels, int num_panels, size_t step,
                     int num_inputs, const typename Weights::Number *rows, size_t stride,
                     float *out, size_t out_stride, bool is_added) {
#define NEXTWORD_ROWS(ROWS)                                                                     \
    case ROWS:                                                                                  \
        row_tiles<Weights, ROWS>(panels, num_panels, step, num_inputs, rows, stride, out,       \
                                 out_stride, is_added);                                         \
        break;
    switch (num_rows) {
        NEXTWORD_ROWS(1)
        NEXTWORD_ROWS(2)
        NEXTWORD_ROWS(3)
        NEXTWORD_ROWS(4)
        NEXTWORD_ROWS(5)
        NEXTWORD_ROWS(6)
    }
#undef NEXTWORD_ROWS
}

// Rows that share a piece of work, and inputs that stay in a core's nearest cache meanwhile.
constexpr int MAX_PIECE_ROWS = 96;
constexpr int PIECE_PANELS = 4;
constexpr int INPUT_CUT = 384;
static_assert(INPUT_CUT % GROUP == 0, "groups are not cut");

// Some rows with some panels of a matrix; `out` has PIECE_PANELS * PANEL numbers a row.
template <class Weights>
static void many_rows(const Matrix &matrix, int first_panel, int num_panels, int num_rows,
                      const typename Weights::Number *rows, size_t stride, float *out) {
    constexpr size_t OUT_STRIDE = PIECE_PANELS * PANEL;
    const int cut = num_rows <= MAX_TILE_ROWS ? matrix.inputs : INPUT_CUT;
    const int num_tiles = (num_rows + MAX_TILE_ROWS - 1) / MAX_TILE_ROWS;
    for (int first = 0; first < matrix.inputs; first += cut) {
        const int size = matrix.inputs - first < cut ? matrix.inputs - first : cut;
        const uint8_t *panels[PIECE_PANELS];
        for (int panel = 0; panel < num_panels; panel++) {
            panels[panel] = matrix.panel(first_panel + panel) + Matrix::offset(matrix.type, first);
        }
        for (int number = 0; number < num_tiles; number++) {
            // Tiles as equal as can be: a tile of one or two rows would be slow.
            const int row = num_rows * number / num_tiles;
            const int end = num_rows * (number + 1) / num_tiles;
            few_rows<Weights>(end - row, panels, num_panels, Weights::STEP, size,
                              rows + size_t(row) * stride + first, stride,
                              out + size_t(row) * OUT_STRIDE, OUT_STRIDE, first != 0);
        }
    }
}

}  // namespace NEXTWORD_ISA

#endif
