// The attention of all rows of a step, in pieces for the threads.
#ifndef NEXTWORD_ROW_ATTENTION_H
#define NEXTWORD_ROW_ATTENTION_H

#include "attention.h"
#include "rows.h"
#include "step.h"

namespace NEXTWORD_ISA {

namespace {

// Norms of heads, rotation, and the key and value into the cache, for one row and key-value head.
void place_row(Step &step, int layer, int row, int head) {
    const nextword_shape &shape = step.shape;
    const Layer &weights = step.model.layers[layer];
    const int width = shape.head_dim, position = step.positions[row];
    const float *cosines = step.model.cosines + int64_t(position) * (width / 2);
    const float *sines = step.model.sines + int64_t(position) * (width / 2);
    float *queries = step.qkv + size_t(row) * step.qkv_stride;
    float *key = queries + step.model.query_width() + head * width;
    const float *value = key + step.model.key_width();
    const int group = step.queries_per_head();
    for (int member = 0; member <= group; member++) {
        float *x = member == group ? key : queries + (head * group + member) * width;
        if (shape.has_qk_norm) {
            const float *norm = member == group ? weights.k_norm : weights.q_norm;
            normalize(x, norm, width, shape.rms_norm_eps, x);
        }
        rotate(x, width, cosines, sines);
    }
    const int32_t *table =
        step.input.block_tables + int64_t(step.chunks[row]) * step.input.table_stride;
    write_token(step.cache, layer, table[position / PANEL], head, position % PANEL, key, value);
}

// Attention of some tokens of a chunk, all query heads of one key-value head.
void attend_piece(Step &step, int layer, int chunk, int first_token, int num_tokens, int head) {
    const nextword_shape &shape = step.shape;
    const int group = step.queries_per_head(), width = shape.head_dim;
    const int start = step.input.chunk_starts[chunk], tokens = step.input.chunk_tokens[chunk];
    const int32_t *table = step.input.block_tables + int64_t(chunk) * step.input.table_stride;
    float *weights = nullptr;
    const int64_t num_keys = start + tokens;
    if (step.inspections[chunk] >= 0) {
        const nextword_inspection &seen = step.input.inspections[step.inspections[chunk]];
        for (int number = 0; number < seen.num_attention_layers; number++) {
            if (seen.attention == nullptr || seen.attention_layers[number] != layer) continue;
            weights = seen.attention + number * shape.num_heads * tokens * num_keys;
        }
    }
    Query queries[MAX_TILE_ROWS];
    int count = 0;
    const int last = num_tokens * group - 1;
    for (int number = 0; number <= last; number++) {
        const int token = first_token + number / group;
        const int query_head = head * group + number % group;
        const size_t row = size_t(step.first_rows[chunk] + token);
        Query &query = queries[count++];
        query.query = step.qkv + row * step.qkv_stride + query_head * width;
        query.out = step.attended + row * step.attended_stride + query_head * width;
        query.num_keys = start + token + 1;
        query.weights = nullptr;
        if (weights != nullptr) {
            query.weights = weights + (int64_t(query_head) * tokens + token) * num_keys;
            for (int64_t key = query.num_keys; key < num_keys; key++) query.weights[key] = 0.0f;
        }
        if (count < MAX_TILE_ROWS && number < last) continue;
        if (step.cache.type == NEXTWORD_F32) {
            attend<FloatWeights>(step.cache, layer, head, table, queries, count);
        } else {
            attend<BfloatWeights>(step.cache, layer, head, table, queries, count);
        }
        count = 0;
    }
}

void attend_rows(Step &step, int layer) {
    const int heads = step.shape.num_kv_heads, num_chunks = step.input.num_chunks;
    // Tokens of one chunk see each other, so all of them are placed first; a single one is placed
    // with its attention.
    if (step.num_rows > num_chunks) {
        const int num_places = (step.num_rows + JOB_ROWS - 1) / JOB_ROWS;
        step.model.pool->run(num_places, [&](int piece) {
            const int end = (piece + 1) * JOB_ROWS;
            for (int row = piece * JOB_ROWS; row < end && row < step.num_rows; row++) {
                if (step.input.chunk_tokens[step.chunks[row]] == 1) continue;
                for (int head = 0; head < heads; head++) place_row(step, layer, row, head);
            }
        });
    }
    step.model.pool->run(step.first_pieces[num_chunks] * heads, [&](int number) {
        const int piece = number / heads, head = number % heads;
        int chunk = 0;
        for (int end = num_chunks; end - chunk > 1;) {
            const int middle = (chunk + end) / 2;
            (step.first_pieces[middle] <= piece ? chunk : end) = middle;
        }
        const int tokens = step.input.chunk_tokens[chunk];
        if (tokens == 1) place_row(step, layer, step.first_rows[chunk], head);
        const int first = (piece - step.first_pieces[chunk]) * step.piece_tokens();
        const int left = tokens - first;
        attend_piece(step, layer, chunk, first, left < step.piece_tokens() ? left : step.piece_tokens(),
                     head);
    });
}

}  // namespace

}  // namespace NEXTWORD_ISA

#endif
