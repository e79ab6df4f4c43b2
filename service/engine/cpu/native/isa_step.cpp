// A whole step of the network, built once per instruction set.

#include "attention.h"
#include "model.h"
#include "pool.h"
#include "products.h"
#include "rows.h"

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

void normalize_rows(Step &step, const Memory &weights) {
    const int width = step.shape.hidden_size;
    step.each_row(step.num_rows, width, [&](int row) {
        const size_t place = size_t(row) * step.hidden_stride;
        normalize(step.hidden + place, (const float *)weights.data, width, step.shape.rms_norm_eps,
                  step.normed + place);
    });
}

// Norms of heads, rotation, and the key and value into the cache, for one row and key-value head.
void place_row(Step &step, int layer, int row, int head) {
    const nextword_shape &shape = step.shape;
    const Layer &weights = step.model.layers[layer];
    const int width = shape.head_dim, position = step.positions[row];
    const float *cosines = (const float *)step.model.cosines.data + int64_t(position) * (width / 2);
    const float *sines = (const float *)step.model.sines.data + int64_t(position) * (width / 2);
    float *queries = step.qkv + size_t(row) * step.qkv_stride;
    float *key = queries + step.model.query_width() + head * width;
    const float *value = key + step.model.key_width();
    const int group = step.queries_per_head();
    for (int member = 0; member <= group; member++) {
        float *x = member == group ? key : queries + (head * group + member) * width;
        if (shape.has_qk_norm) {
            const Memory &norm = member == group ? weights.k_norm : weights.q_norm;
            normalize(x, (const float *)norm.data, width, shape.rms_norm_eps, x);
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
    const float *bias = (const float *)weights.qkv_bias.data;
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
                  (const float *)weights.o_bias.data);
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
        normalize(step.hidden + source, (const float *)step.model.final_norm.data, width,
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
