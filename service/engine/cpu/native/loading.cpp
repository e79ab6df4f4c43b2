// Making a model and a cache, and packing tensors into it.

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <new>

#include "model.h"
#include "pool.h"

namespace {

constexpr int MAX_HEAD_DIM = 512;

bool is_good(const nextword_shape &shape) {
    const int32_t sizes[] = {shape.vocab_size, shape.hidden_size,  shape.intermediate_size,
                             shape.num_layers, shape.num_heads,    shape.num_kv_heads,
                             shape.head_dim,   shape.num_positions};
    for (const int32_t size : sizes) {
        if (size < 1) return false;
    }
    // Widths stay far below what 32 bits hold, in numbers and in bytes.
    return shape.num_heads % shape.num_kv_heads == 0 && shape.head_dim % 2 == 0 &&
           shape.head_dim <= MAX_HEAD_DIM && shape.hidden_size <= 1 << 20 &&
           shape.intermediate_size <= 1 << 22 && shape.num_heads <= 1 << 16 &&
           shape.num_heads * int64_t(shape.head_dim) <= 1 << 22 && shape.vocab_size <= 1 << 28 &&
           (shape.weight_type == NEXTWORD_F32 || shape.weight_type == NEXTWORD_BF16 ||
            shape.weight_type == NEXTWORD_INT8) &&
           shape.rms_norm_eps > 0.0f;
}

// Gives places in one piece of memory, or only counts where there is none yet.
struct Places {
    uint8_t *first;
    size_t end = 0;

    uint8_t *take(size_t num_bytes) {
        const size_t begin = end;
        end += size_t(round_up(int64_t(num_bytes), 64));
        return first == nullptr ? nullptr : first + begin;
    }
    void take(Matrix &matrix, int32_t outputs, int32_t inputs, int32_t type) {
        matrix.shape(outputs, inputs, type);
        matrix.data = take(matrix.num_bytes());
    }
    void take(float *&vector, int64_t width) {
        // The sums of a whole panel are finished at once, so its biases are read.
        vector = reinterpret_cast<float *>(take(size_t(round_up(width, PANEL)) * sizeof(float)));
    }
};

void place_layer(Layer &layer, const nextword_shape &shape, Places &places) {
    const int32_t queries = shape.num_heads * shape.head_dim, width = shape.hidden_size;
    const int32_t keys = shape.num_kv_heads * shape.head_dim, type = shape.weight_type;
    places.take(layer.attention_norm, width);
    places.take(layer.qkv, queries + 2 * keys, width, type);
    if (shape.has_attention_bias) places.take(layer.qkv_bias, queries + 2 * keys);
    if (shape.has_qk_norm) {
        places.take(layer.q_norm, shape.head_dim);
        places.take(layer.k_norm, shape.head_dim);
    }
    places.take(layer.o, width, queries, type);
    if (shape.has_output_bias) places.take(layer.o_bias, width);
    places.take(layer.mlp_norm, width);
    // Each of gate and up in whole panels, which stand in turns.
    places.take(layer.gate_up, 2 * int32_t(round_up(shape.intermediate_size, PANEL)), width, type);
    places.take(layer.down, width, shape.intermediate_size, type);
}

// Where everything lies; how much it is.
size_t place_all(nextword_model &model, uint8_t *first) {
    const nextword_shape &shape = model.shape;
    Places places{first};
    const int64_t angles = int64_t(shape.num_positions) * (shape.head_dim / 2);
    places.take(model.cosines, angles);
    places.take(model.sines, angles);
    if (!shape.is_tied) {
        places.take(model.embedding, shape.vocab_size, shape.hidden_size,
                    shape.weight_type == NEXTWORD_F32 ? NEXTWORD_F32 : NEXTWORD_BF16);
    }
    for (int layer = 0; layer < shape.num_layers; layer++) {
        // Layers are alike: one is enough to count them.
        Layer counted;
        place_layer(first == nullptr ? counted : model.layers[layer], shape, places);
    }
    places.take(model.final_norm, shape.hidden_size);
    places.take(model.output, shape.vocab_size, shape.hidden_size, shape.weight_type);
    return places.end;
}

// Where a tensor goes: a matrix and the place of its rows in it, or a vector and a place in it.
struct Target {
    Matrix *matrix = nullptr;
    float *vector = nullptr;
    int64_t first = 0;
    int turns = 1;  // 2: its panels stand at every second place, from `first` (0 or 1) on
    int64_t rows = 1;
    int64_t columns = 0;
};

bool find_target(nextword_model &model, int tensor, int layer_number, Target &target) {
    const nextword_shape &shape = model.shape;
    const int64_t width = shape.hidden_size, inner = shape.intermediate_size;
    const int64_t queries = model.query_width(), keys = model.key_width();
    const bool is_of_layer = tensor >= NEXTWORD_ATTENTION_NORM;
    if (layer_number < 0 || layer_number >= (is_of_layer ? shape.num_layers : 1)) return false;
    Layer &layer = model.layers[layer_number];
    auto matrix = [&](Matrix &whole, int64_t first, int64_t rows, int64_t columns) {
        target.matrix = &whole;
        target.first = first;
        target.rows = rows;
        target.columns = columns;
        return true;
    };
    auto vector = [&](float *whole, int64_t first, int64_t columns) {
        target.vector = whole + first;
        target.columns = columns;
        return whole != nullptr;
    };
    switch (tensor) {
        case NEXTWORD_EMBEDDING:
            return matrix(shape.is_tied ? model.output : model.embedding, 0, shape.vocab_size,
                          width);
        case NEXTWORD_OUTPUT:
            return matrix(model.output, 0, shape.vocab_size, width) && !shape.is_tied;
        case NEXTWORD_FINAL_NORM: return vector(model.final_norm, 0, width);
        case NEXTWORD_ATTENTION_NORM: return vector(layer.attention_norm, 0, width);
        case NEXTWORD_MLP_NORM: return vector(layer.mlp_norm, 0, width);
        case NEXTWORD_Q: return matrix(layer.qkv, 0, queries, width);
        case NEXTWORD_K: return matrix(layer.qkv, queries, keys, width);
        case NEXTWORD_V: return matrix(layer.qkv, queries + keys, keys, width);
        case NEXTWORD_O: return matrix(layer.o, 0, width, queries);
        case NEXTWORD_GATE: target.turns = 2; return matrix(layer.gate_up, 0, inner, width);
        case NEXTWORD_UP: target.turns = 2; return matrix(layer.gate_up, 1, inner, width);
        case NEXTWORD_DOWN: return matrix(layer.down, 0, width, inner);
        case NEXTWORD_Q_BIAS: return vector(layer.qkv_bias, 0, queries);
        case NEXTWORD_K_BIAS: return vector(layer.qkv_bias, queries, keys);
        case NEXTWORD_V_BIAS: return vector(layer.qkv_bias, queries + keys, keys);
        case NEXTWORD_O_BIAS: return vector(layer.o_bias, 0, width);
        case NEXTWORD_Q_NORM: return vector(layer.q_norm, 0, shape.head_dim);
        case NEXTWORD_K_NORM: return vector(layer.k_norm, 0, shape.head_dim);
        default: return false;
    }
}

// The tensors a network of this shape has, as bits.
uint32_t wanted_tensors(const nextword_shape &shape, bool is_of_layer) {
    uint32_t bits = 1u << NEXTWORD_EMBEDDING | 1u << NEXTWORD_FINAL_NORM;
    if (!shape.is_tied) bits |= 1u << NEXTWORD_OUTPUT;
    if (!is_of_layer) return bits;
    bits = 0;
    for (int tensor = NEXTWORD_ATTENTION_NORM; tensor <= NEXTWORD_DOWN; tensor++) {
        bits |= 1u << tensor;
    }
    if (shape.has_attention_bias) {
        bits |= 1u << NEXTWORD_Q_BIAS | 1u << NEXTWORD_K_BIAS | 1u << NEXTWORD_V_BIAS;
    }
    if (shape.has_output_bias) bits |= 1u << NEXTWORD_O_BIAS;
    if (shape.has_qk_norm) bits |= 1u << NEXTWORD_Q_NORM | 1u << NEXTWORD_K_NORM;
    return bits;
}

float half_to_float(uint16_t bits) {
    const uint32_t sign = uint32_t(bits & 0x8000u) << 16, size = bits & 0x7fffu;
    if (size >= 0x7c00u) {
        return bf16_to_float(uint16_t((sign | 0x7f800000u) >> 16 | ((size & 0x3ffu) ? 0x40u : 0u)));
    }
    // The exponent's bias differs by 112; the product does what is below the normal numbers too.
    const uint32_t word = size << 13;
    float value;
    memcpy(&value, &word, sizeof value);
    value *= 0x1p112f;
    return sign != 0 ? -value : value;
}

void read_row(const void *source, int32_t type, int64_t first, int64_t count, float *out) {
    if (type == NEXTWORD_F32) {
        memcpy(out, static_cast<const float *>(source) + first, size_t(count) * sizeof(float));
        return;
    }
    const uint16_t *numbers = static_cast<const uint16_t *>(source) + first;
    for (int64_t place = 0; place < count; place++) {
        out[place] = type == NEXTWORD_BF16 ? bf16_to_float(numbers[place])
                                           : half_to_float(numbers[place]);
    }
}

}  // namespace

int32_t nextword_model_create(const nextword_shape *shape, nextword_pool *pool, const char *isa,
                              const float *cosines, const float *sines, nextword_model **model) {
    if (shape == nullptr || pool == nullptr || !is_good(*shape)) return NEXTWORD_BAD_ARGUMENT;
    const Kernels *kernels = kernels_of(isa);
    if (kernels == nullptr) return NEXTWORD_UNKNOWN_ISA;
    nextword_model *made = new (std::nothrow) nextword_model;
    if (made == nullptr) return NEXTWORD_OUT_OF_MEMORY;
    made->shape = *shape;
    made->pool = pool;
    made->kernels = kernels;
    made->layers = new (std::nothrow) Layer[size_t(shape->num_layers)];
    if (made->layers == nullptr || !made->weights.take(place_all(*made, nullptr))) {
        delete made;
        return NEXTWORD_OUT_OF_MEMORY;
    }
    place_all(*made, made->weights.data);
    const size_t angles = size_t(shape->num_positions) * size_t(shape->head_dim / 2);
    memcpy(made->cosines, cosines, angles * sizeof(float));
    memcpy(made->sines, sines, angles * sizeof(float));
    *model = made;
    return NEXTWORD_OK;
}

void nextword_model_destroy(nextword_model *model) { delete model; }

const char *nextword_model_isa(const nextword_model *model) { return model->kernels->name; }

int64_t nextword_weight_bytes(const nextword_shape *shape) {
    if (!is_good(*shape)) return -1;
    nextword_model counted;
    counted.shape = *shape;
    return int64_t(place_all(counted, nullptr));
}

int32_t nextword_model_load(nextword_model *model, int32_t tensor, int32_t layer,
                            const void *source, int32_t source_type, int64_t rows,
                            int64_t columns) {
    if (source_type < NEXTWORD_F32 || source_type > NEXTWORD_F16) return NEXTWORD_BAD_ARGUMENT;
    Target target;
    if (!find_target(*model, tensor, layer, target)) return NEXTWORD_BAD_ARGUMENT;
    if (rows != target.rows || columns != target.columns) return NEXTWORD_BAD_SIZE;
    if (target.vector != nullptr) {
        read_row(source, source_type, 0, columns, target.vector);
    } else {
        constexpr int64_t PIECE = 64;
        std::atomic<bool> is_short{false};
        model->pool->run(int((rows + PIECE - 1) / PIECE), [&](int piece) {
            float *row = static_cast<float *>(malloc(size_t(columns) * sizeof(float)));
            if (row == nullptr) {
                is_short = true;
                return;
            }
            const int64_t end = (piece + 1) * PIECE < rows ? (piece + 1) * PIECE : rows;
            for (int64_t number = piece * PIECE; number < end; number++) {
                read_row(source, source_type, number * columns, columns, row);
                const int64_t place =
                    target.turns == 1
                        ? target.first + number
                        : (number / PANEL * 2 + target.first) * PANEL + number % PANEL;
                target.matrix->pack(int(place), row);
            }
            free(row);
        });
        if (is_short) return NEXTWORD_OUT_OF_MEMORY;
    }
    const bool is_of_layer = tensor >= NEXTWORD_ATTENTION_NORM;
    (is_of_layer ? model->layers[layer].loaded : model->loaded) |= 1u << tensor;
    return NEXTWORD_OK;
}

int32_t nextword_model_check(const nextword_model *model, int32_t *tensor, int32_t *layer) {
    for (int number = -1; number < model->shape.num_layers; number++) {
        const bool is_of_layer = number >= 0;
        const uint32_t missing = wanted_tensors(model->shape, is_of_layer) &
                                 ~(is_of_layer ? model->layers[number].loaded : model->loaded);
        if (missing == 0) continue;
        *tensor = __builtin_ctz(missing);
        *layer = is_of_layer ? number : 0;
        return NEXTWORD_MISSING_TENSOR;
    }
    return NEXTWORD_OK;
}

int32_t nextword_model_embedding(const nextword_model *model, const int32_t *token_ids,
                                 int32_t num_rows, float *rows) {
    for (int32_t row = 0; row < num_rows; row++) {
        if (token_ids[row] < 0 || token_ids[row] >= model->shape.vocab_size) {
            return NEXTWORD_BAD_TOKEN;
        }
    }
    for (int32_t row = 0; row < num_rows; row++) {
        model->embedding_matrix().unpack(token_ids[row],
                                         rows + int64_t(row) * model->shape.hidden_size);
    }
    return NEXTWORD_OK;
}
