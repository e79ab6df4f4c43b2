// Attention of a few queries of one sequence and one key-value head to the blocks of a cache.
//
// Keys are taken in tiles of four blocks from the sequence's beginning, with a running maximum and
// sum (Milakov and Gimelshein 2018), so a query's arithmetic knows its own position only. What lies
// behind it in the last block is never multiplied by a weight: it may be another's, or NaN.
#ifndef NEXTWORD_ATTENTION_H
#define NEXTWORD_ATTENTION_H

#include "model.h"
#include "products.h"
#include "vector.h"

namespace NEXTWORD_ISA {

constexpr int TILE_BLOCKS = 4;
constexpr int TILE_KEYS = TILE_BLOCKS * PANEL;
constexpr int MAX_HEAD_WIDTH = 512;

struct Query {
    const float *query;  // [D], rotated
    float *out;          // [D]
    float *weights;      // [S] where they are wanted, else null
    int num_keys;        // what it sees: its own position and all before
};

// The key and value of one token into its place.
INLINE void write_token(const nextword_cache &cache, int layer, int block, int head, int place,
                        const float *key, const float *value) {
    const int width = cache.model->shape.head_dim;
    uint8_t *keys = cache.keys(layer, block, head), *values = keys + cache.key_bytes;
    if (cache.type == NEXTWORD_F32) {
        float *target = (float *)keys + place;
        for (int number = 0; number < width; number++) target[number * PANEL] = key[number];
        memcpy((float *)values + place * cache.value_width, value, size_t(width) * sizeof(float));
        return;
    }
    uint16_t *target = (uint16_t *)keys + place * 2;
    for (int number = 0; number < width; number++) {
        target[number / 2 * PANEL * 2 + number % 2] = float_to_bf16(key[number]);
    }
    target = (uint16_t *)values + place / 2 * cache.value_width * 2 + place % 2;
    for (int number = 0; number < width; number++) target[number * 2] = float_to_bf16(value[number]);
}

// Scores of a tile to weights that are not yet divided by their sum; returns by how much what was
// summed before is to be multiplied.
INLINE float weigh(float *scores, int num_keys, float &best, float &sum) {
    const int whole = int(round_up(num_keys, PANEL));
    for (int key = num_keys; key < whole; key++) scores[key] = -__builtin_inff();
    F largest = all(best);
    for (int key = 0; key < whole; key += LANES) largest = max(load(scores + key), largest);
    const float new_best = max_of(largest);
    // A first tile has nothing before it.
    const float factor = best == -__builtin_inff() ? 0.0f : exponential(all(best - new_best))[0];
    F sums = {};
    for (int key = 0; key < whole; key += LANES) {
        store(scores + key, exponential(load(scores + key) - all(new_best)));
        if (key + LANES > num_keys) {
            for (int hidden = num_keys > key ? num_keys : key; hidden < key + LANES; hidden++) {
                scores[hidden] = 0.0f;
            }
        }
        sums += load(scores + key);
    }
    sum = sum * factor + sum_of(sums);
    best = new_best;
    return factor;
}

// The weights of a query from the scores that were put in their place.
INLINE void finish_weights(float *weights, int num_keys, float best, float inverse) {
    for (int key = 0; key < num_keys; key += LANES) {
        float part[LANES] = {};
        const int size = num_keys - key < LANES ? num_keys - key : LANES;
        memcpy(part, weights + key, size_t(size) * sizeof(float));
        store(part, exponential(load(part) - all(best)) * all(inverse));
        memcpy(weights + key, part, size_t(size) * sizeof(float));
    }
}

// At most MAX_TILE_ROWS queries.
template <class Weights>
static void attend(const nextword_cache &cache, int layer, int head, const int32_t *table,
                   const Query *queries, int count) {
    const int width = cache.model->shape.head_dim, value_width = cache.value_width;
    const float scale = 1.0f / __builtin_sqrtf(float(width));
    const int num_value_panels = value_width / PANEL;
    float scaled[MAX_TILE_ROWS * MAX_HEAD_WIDTH], sums[MAX_TILE_ROWS * MAX_HEAD_WIDTH];
    float scores[MAX_TILE_ROWS * TILE_KEYS];
    float best[MAX_TILE_ROWS], weight_sum[MAX_TILE_ROWS];
    int most_keys = 0;
    for (int number = 0; number < count; number++) {
        for (int place = 0; place < width; place++) {
            scaled[number * width + place] = queries[number].query[place] * scale;
        }
        memset(sums + number * value_width, 0, size_t(value_width) * sizeof(float));
        best[number] = -__builtin_inff();
        weight_sum[number] = 0.0f;
        if (queries[number].num_keys > most_keys) most_keys = queries[number].num_keys;
    }
    for (int first = 0; first < most_keys; first += TILE_KEYS) {
        const int num_keys = most_keys - first < TILE_KEYS ? most_keys - first : TILE_KEYS;
        const int num_blocks = (num_keys + PANEL - 1) / PANEL;
        const uint8_t *keys[TILE_BLOCKS];
        for (int block = 0; block < num_blocks; block++) {
            keys[block] = cache.keys(layer, table[first / PANEL + block], head);
        }
        few_rows<Weights>(count, keys, num_blocks, Weights::STEP, width, scaled, size_t(width),
                          scores, TILE_KEYS, false);
        int fewest = num_keys, own[MAX_TILE_ROWS];
        for (int number = 0; number < count; number++) {
            const int left = queries[number].num_keys - first;
            own[number] = left < 0 ? 0 : left < num_keys ? left : num_keys;
            if (own[number] < fewest) fewest = own[number];
            if (own[number] == 0) continue;
            float *row = scores + number * TILE_KEYS;
            if (queries[number].weights != nullptr) {
                memcpy(queries[number].weights + first, row, size_t(own[number]) * sizeof(float));
            }
            const float factor = weigh(row, own[number], best[number], weight_sum[number]);
            if (first == 0) continue;
            for (int place = 0; place < value_width; place += LANES) {
                float *target = sums + number * value_width + place;
                store(target, load(target) * all(factor));
            }
        }
        for (int block = 0; block < num_blocks; block++) {
            const uint8_t *values = keys[block] + cache.key_bytes;
            const uint8_t *panels[MAX_HEAD_WIDTH / PANEL];
            for (int panel = 0; panel < num_value_panels; panel++) {
                panels[panel] = values + size_t(panel) * PANEL * 4;
            }
            const size_t step = size_t(value_width) * 4;  // a token in f32, a pair in bf16
            const int before = block * PANEL;
            if (fewest >= before + PANEL) {
                few_rows<Weights>(count, panels, num_value_panels, step, PANEL, scores + before,
                                  TILE_KEYS, sums, size_t(value_width), true);
                continue;
            }
            for (int number = 0; number < count; number++) {
                const int left = own[number] - before;
                if (left <= 0) continue;
                few_rows<Weights>(1, panels, num_value_panels, step, left < PANEL ? left : PANEL,
                                  scores + number * TILE_KEYS + before, TILE_KEYS,
                                  sums + number * value_width, size_t(value_width), true);
            }
        }
    }
    for (int number = 0; number < count; number++) {
        const Query &query = queries[number];
        const float inverse = 1.0f / weight_sum[number];
        for (int place = 0; place < width; place++) {
            query.out[place] = sums[number * value_width + place] * inverse;
        }
        if (query.weights == nullptr) continue;
        finish_weights(query.weights, query.num_keys, best[number], inverse);
    }
}

}  // namespace NEXTWORD_ISA

#endif
