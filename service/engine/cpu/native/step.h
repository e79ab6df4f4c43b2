// What a step is made of: its rows, whose they are, and where their numbers lie.
#ifndef NEXTWORD_STEP_H
#define NEXTWORD_STEP_H

#include "model.h"
#include "pool.h"

namespace NEXTWORD_ISA {

namespace {

// Fewer numbers are not worth waking another thread for.
constexpr int64_t SMALL_JOB = 16 * 1024;
constexpr int JOB_ROWS = 8;
// Queries of one piece of attention.
constexpr int PIECE_QUERIES = 48;

struct Step {
    nextword_model &model;
    nextword_cache &cache;
    const nextword_step_input &input;
    const nextword_shape &shape;
    int num_rows = 0;
    // Of each row: position in its sequence, chunk. Of each chunk: first row; first piece of
    // attention, inspection or -1.
    int32_t *positions = nullptr, *chunks = nullptr;
    int32_t *first_rows = nullptr, *first_pieces = nullptr, *inspections = nullptr;
    float *hidden, *normed, *qkv, *attended, *inner;
    size_t hidden_stride, qkv_stride, attended_stride, inner_stride;

    Step(nextword_model &the_model, nextword_cache &the_cache, const nextword_step_input &the_input)
        : model(the_model), cache(the_cache), input(the_input), shape(the_model.shape) {
        const int num_chunks = input.num_chunks;
        for (int chunk = 0; chunk < num_chunks; chunk++) num_rows += input.chunk_tokens[chunk];
        first_rows = (int32_t *)model.row_places.data;
        first_pieces = first_rows + num_chunks + 1;
        inspections = first_pieces + num_chunks + 1;
        positions = inspections + num_chunks;
        chunks = positions + num_rows;
        hidden = (float *)model.hidden.data, normed = (float *)model.normed.data;
        qkv = (float *)model.qkv.data, attended = (float *)model.attended.data;
        inner = (float *)model.inner.data;
        hidden_stride = row_stride(shape.hidden_size);
        qkv_stride = row_stride(model.query_width() + 2 * model.key_width());
        attended_stride = row_stride(model.query_width());
        inner_stride = row_stride(shape.intermediate_size);
        int row = 0, piece = 0;
        for (int chunk = 0; chunk < num_chunks; chunk++) {
            first_rows[chunk] = row;
            first_pieces[chunk] = piece;
            inspections[chunk] = -1;
            const int tokens = input.chunk_tokens[chunk];
            for (int token = 0; token < tokens; token++, row++) {
                positions[row] = input.chunk_starts[chunk] + token;
                chunks[row] = chunk;
            }
            piece += (tokens + piece_tokens() - 1) / piece_tokens();
        }
        first_rows[num_chunks] = row;
        first_pieces[num_chunks] = piece;
        for (int number = 0; number < input.num_inspections; number++) {
            inspections[input.inspections[number].chunk] = number;
        }
    }

    int queries_per_head() const { return shape.num_heads / shape.num_kv_heads; }
    int piece_tokens() const {
        const int tokens = PIECE_QUERIES / queries_per_head();
        return tokens > 1 ? tokens : 1;
    }

    // Call function(row) for all rows, on several threads where that pays.
    template <class Function>
    void each_row(int rows, int width, Function function) {
        const int num_pieces = (rows + JOB_ROWS - 1) / JOB_ROWS;
        auto piece = [&](int number) {
            const int end = (number + 1) * JOB_ROWS < rows ? (number + 1) * JOB_ROWS : rows;
            for (int row = number * JOB_ROWS; row < end; row++) function(row);
        };
        if (int64_t(rows) * width < SMALL_JOB) {
            for (int number = 0; number < num_pieces; number++) piece(number);
        } else {
            model.pool->run(num_pieces, piece);
        }
    }
};

}  // namespace

}  // namespace NEXTWORD_ISA

#endif
