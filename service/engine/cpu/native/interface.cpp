// The rest of the C interface: pool, cache, and the checks before a step.

#include <string.h>

#include <new>

#include "model.h"
#include "pool.h"

namespace {

constexpr int MAX_THREADS = 1024;

size_t key_bytes(const nextword_shape &shape, int32_t type) {
    return size_t(shape.head_dim) * PANEL * (type == NEXTWORD_F32 ? 4 : 2);
}

size_t value_bytes(const nextword_shape &shape, int32_t type) {
    return size_t(round_up(shape.head_dim, PANEL)) * PANEL * (type == NEXTWORD_F32 ? 4 : 2);
}

int32_t check_chunk(const nextword_model &model, const nextword_cache &cache,
                    const nextword_step_input &input, int chunk) {
    const int64_t start = input.chunk_starts[chunk], tokens = input.chunk_tokens[chunk];
    if (start < 0 || tokens < 1 || start + tokens > model.shape.num_positions) {
        return NEXTWORD_BAD_POSITION;
    }
    const int64_t num_blocks = (start + tokens + PANEL - 1) / PANEL;
    if (num_blocks > input.table_stride) return NEXTWORD_BAD_BLOCK;
    const int32_t *table = input.block_tables + int64_t(chunk) * input.table_stride;
    for (int64_t place = 0; place < num_blocks; place++) {
        if (table[place] < 0 || table[place] >= cache.num_blocks) return NEXTWORD_BAD_BLOCK;
    }
    return NEXTWORD_OK;
}

int32_t check_inspection(const nextword_model &model, const nextword_step_input &input,
                         const nextword_inspection &inspection) {
    if (inspection.chunk < 0 || inspection.chunk >= input.num_chunks) return NEXTWORD_BAD_ARGUMENT;
    for (int32_t number = 0; number < inspection.num_attention_layers; number++) {
        const int32_t layer = inspection.attention_layers[number];
        if (layer < 0 || layer >= model.shape.num_layers) return NEXTWORD_BAD_ARGUMENT;
    }
    return NEXTWORD_OK;
}

// Everything a step reads, before anything is written; the number of its tokens.
int32_t check(const nextword_model &model, const nextword_cache &cache,
              const nextword_step_input &input, int64_t &num_tokens) {
    if (input.num_chunks < 1 || input.num_logit_rows < 0 || input.num_inspections < 0 ||
        (input.num_logit_rows > 0 && input.logits_stride < model.shape.vocab_size)) {
        return NEXTWORD_BAD_ARGUMENT;
    }
    num_tokens = 0;
    for (int32_t chunk = 0; chunk < input.num_chunks; chunk++) {
        const int32_t status = check_chunk(model, cache, input, chunk);
        if (status != NEXTWORD_OK) return status;
        num_tokens += input.chunk_tokens[chunk];
    }
    if (num_tokens > 1 << 24) return NEXTWORD_BAD_ARGUMENT;
    for (int64_t token = 0; token < num_tokens; token++) {
        if (input.token_ids[token] < 0 || input.token_ids[token] >= model.shape.vocab_size) {
            return NEXTWORD_BAD_TOKEN;
        }
    }
    for (int32_t row = 0; row < input.num_logit_rows; row++) {
        if (input.logit_tokens[row] < 0 || input.logit_tokens[row] >= num_tokens) {
            return NEXTWORD_BAD_ARGUMENT;
        }
    }
    for (int32_t number = 0; number < input.num_inspections; number++) {
        const int32_t status = check_inspection(model, input, input.inspections[number]);
        if (status != NEXTWORD_OK) return status;
    }
    return NEXTWORD_OK;
}

bool grow_buffers(nextword_model &model, const nextword_step_input &input, int64_t num_tokens) {
    const nextword_shape &shape = model.shape;
    // More rows of logits than tokens may be wanted: some twice.
    const size_t rows = size_t(num_tokens > input.num_logit_rows ? num_tokens : input.num_logit_rows);
    const size_t hidden = row_stride(shape.hidden_size);
    const size_t attended = row_stride(model.query_width());
    const size_t inner = row_stride(shape.intermediate_size);
    size_t widest = hidden > attended ? hidden : attended;
    widest = widest > inner ? widest : inner;
    const size_t places = 2 * rows + 3 * size_t(input.num_chunks) + 2;
    return model.hidden.grow(rows * hidden * 4) && model.normed.grow(rows * hidden * 4) &&
           model.qkv.grow(rows * row_stride(model.query_width() + 2 * model.key_width()) * 4) &&
           model.attended.grow(rows * attended * 4) && model.inner.grow(rows * inner * 4) &&
           model.rounded.grow(rows * widest * 2) && model.row_scales.grow(rows * 4) &&
           model.row_places.grow(places * 4);
}

}  // namespace

int32_t nextword_interface(void) { return NEXTWORD_CPU_INTERFACE; }

const char *nextword_status_text(int32_t status) {
    switch (status) {
        case NEXTWORD_OK: return "ok";
        case NEXTWORD_OUT_OF_MEMORY: return "out of memory";
        case NEXTWORD_BAD_ARGUMENT: return "a number or type is out of range";
        case NEXTWORD_UNKNOWN_ISA: return "this processor or build lacks the instruction set";
        case NEXTWORD_BAD_SIZE: return "the tensor's size contradicts the shape";
        case NEXTWORD_MISSING_TENSOR: return "a tensor was not loaded";
        case NEXTWORD_BAD_TOKEN: return "a token id is outside the vocabulary";
        case NEXTWORD_BAD_POSITION: return "a position is outside the context";
        case NEXTWORD_BAD_BLOCK: return "a block is outside the cache, or its table too short";
        default: return "no such status";
    }
}

int32_t nextword_pool_create(int32_t num_threads, nextword_pool **pool) {
    if (num_threads < 1 || num_threads > MAX_THREADS) return NEXTWORD_BAD_ARGUMENT;
    *pool = nextword_pool::create(num_threads);
    return *pool == nullptr ? NEXTWORD_OUT_OF_MEMORY : NEXTWORD_OK;
}

void nextword_pool_destroy(nextword_pool *pool) { delete pool; }

int64_t nextword_cache_bytes(const nextword_shape *shape, int32_t num_blocks, int32_t type) {
    return int64_t(key_bytes(*shape, type) + value_bytes(*shape, type)) * shape->num_kv_heads *
           num_blocks * shape->num_layers;
}

int32_t nextword_cache_create(const nextword_model *model, int32_t num_blocks, int32_t type,
                              nextword_cache **cache) {
    if (num_blocks < 1 || (type != NEXTWORD_F32 && type != NEXTWORD_BF16)) {
        return NEXTWORD_BAD_ARGUMENT;
    }
    nextword_cache *made = new (std::nothrow) nextword_cache;
    if (made == nullptr) return NEXTWORD_OUT_OF_MEMORY;
    made->model = model;
    made->num_blocks = num_blocks;
    made->type = type;
    made->value_width = int32_t(round_up(model->shape.head_dim, PANEL));
    made->key_bytes = key_bytes(model->shape, type);
    made->value_bytes = value_bytes(model->shape, type);
    if (!made->memory.take(size_t(nextword_cache_bytes(&model->shape, num_blocks, type)))) {
        delete made;
        return NEXTWORD_OUT_OF_MEMORY;
    }
    *cache = made;
    return NEXTWORD_OK;
}

void nextword_cache_destroy(nextword_cache *cache) { delete cache; }

int32_t nextword_cache_clear(nextword_cache *cache, const int32_t *block_ids, int32_t num_blocks) {
    for (int32_t place = 0; place < num_blocks; place++) {
        if (block_ids[place] < 0 || block_ids[place] >= cache->num_blocks) {
            return NEXTWORD_BAD_BLOCK;
        }
    }
    for (int32_t place = 0; place < num_blocks; place++) {
        // All layers of it.
        uint8_t *first = cache->keys(0, block_ids[place], 0);
        memset(first, 0, size_t(cache->keys(0, block_ids[place] + 1, 0) - first));
    }
    return NEXTWORD_OK;
}

int32_t nextword_step(nextword_model *model, nextword_cache *cache,
                      const nextword_step_input *input) {
    int32_t tensor = 0, layer = 0;
    int32_t status = nextword_model_check(model, &tensor, &layer);
    int64_t num_tokens = 0;
    if (status == NEXTWORD_OK) status = check(*model, *cache, *input, num_tokens);
    if (status != NEXTWORD_OK) return status;
    if (!grow_buffers(*model, *input, num_tokens)) return NEXTWORD_OUT_OF_MEMORY;
    model->kernels->step(*model, *cache, *input);
    return NEXTWORD_OK;
}
