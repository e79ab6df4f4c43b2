/* The plain C interface of the CPU kernels: a whole step of a Llama-shaped network in one call.
 *
 * The caller decides which tokens of which sequences are computed and which blocks of the cache
 * hold them; the library owns the packed weights, the cache and its threads. Every number depends
 * on its own sequence only, bit by bit: on no neighbour in the step, on no number of threads, on
 * no cut of a prompt into pieces. Shape letters: V vocabulary, C hidden width, I inner width of
 * the feed-forward layer, L layers, H query heads, K key-value heads, D head width, P positions,
 * N tokens of a step, R its chunks, T tokens of a chunk, S tokens of its sequence so far.
 *
 * Functions return a nextword_status; what they were given is unchanged unless it is NEXTWORD_OK.
 * No function may be called while another works on the same model, cache or pool. */
#ifndef NEXTWORD_CPU_H
#define NEXTWORD_CPU_H

#include <stdint.h>

#define NEXTWORD_EXPORT __attribute__((visibility("default")))

/* Grows with every change of what is declared here. */
#define NEXTWORD_CPU_INTERFACE 1

/* Tokens of a block of the cache. */
#define NEXTWORD_BLOCK_TOKENS 16

#ifdef __cplusplus
extern "C" {
#endif

typedef enum nextword_status {
    NEXTWORD_OK = 0,
    NEXTWORD_OUT_OF_MEMORY = 1,
    NEXTWORD_BAD_ARGUMENT = 2,    /* a number out of range, a type that is not taken here */
    NEXTWORD_UNKNOWN_ISA = 3,     /* no such instruction set, or not in this processor */
    NEXTWORD_BAD_SIZE = 4,        /* rows or columns of a tensor contradict the shape */
    NEXTWORD_MISSING_TENSOR = 5,  /* a step before all tensors were loaded */
    NEXTWORD_BAD_TOKEN = 6,       /* a token id outside the vocabulary */
    NEXTWORD_BAD_POSITION = 7,    /* a position outside the rotary tables */
    NEXTWORD_BAD_BLOCK = 8        /* a block id outside the cache, or a table too short */
} nextword_status;

/* Types of numbers. F16 is taken as a source only. INT8 are weights in groups along the inputs,
 * each with an f32 scale; what is multiplied by them is rounded to 16 bits per token. */
typedef enum nextword_type {
    NEXTWORD_F32 = 0,
    NEXTWORD_BF16 = 1,
    NEXTWORD_F16 = 2,
    NEXTWORD_INT8 = 3
} nextword_type;

typedef struct nextword_shape {
    int32_t vocab_size;          /* V */
    int32_t hidden_size;         /* C */
    int32_t intermediate_size;   /* I */
    int32_t num_layers;          /* L */
    int32_t num_heads;           /* H, a multiple of K */
    int32_t num_kv_heads;        /* K */
    int32_t head_dim;            /* D, even, at most 512 */
    int32_t num_positions;       /* P, rows of the rotary tables */
    int32_t is_tied;             /* the output matrix is the embedding */
    int32_t has_attention_bias;  /* on q, k and v */
    int32_t has_output_bias;     /* on o */
    int32_t has_qk_norm;         /* RMSNorm of each head of q and k, before the rotation */
    int32_t weight_type;         /* of the matrices: F32, BF16 or INT8 */
    float rms_norm_eps;
} nextword_shape;

/* Names of tensors. All are row-major and contiguous; matrices are [outputs, inputs] as in
 * Hugging Face's folders. Tensors without a layer are loaded with layer 0. */
typedef enum nextword_tensor {
    NEXTWORD_EMBEDDING = 0,   /* [V, C]; of a tied network also the output matrix */
    NEXTWORD_OUTPUT = 1,      /* [V, C]; refused where tied */
    NEXTWORD_FINAL_NORM = 2,  /* [C], like all vectors: rows 1, columns C */
    NEXTWORD_ATTENTION_NORM = 3,
    NEXTWORD_MLP_NORM = 4,
    NEXTWORD_Q = 5, /* [H * D, C] */
    NEXTWORD_K = 6, /* [K * D, C] */
    NEXTWORD_V = 7, /* [K * D, C] */
    NEXTWORD_O = 8, /* [C, H * D] */
    NEXTWORD_GATE = 9,
    NEXTWORD_UP = 10,
    NEXTWORD_DOWN = 11,   /* [C, I] */
    NEXTWORD_Q_BIAS = 12, /* [H * D] */
    NEXTWORD_K_BIAS = 13,
    NEXTWORD_V_BIAS = 14,
    NEXTWORD_O_BIAS = 15, /* [C] */
    NEXTWORD_Q_NORM = 16, /* [D] */
    NEXTWORD_K_NORM = 17,
    NEXTWORD_NUM_TENSORS = 18
} nextword_tensor;

typedef struct nextword_pool nextword_pool;
typedef struct nextword_model nextword_model;
typedef struct nextword_cache nextword_cache;

/* What is seen of one chunk. Both outputs may be null. */
typedef struct nextword_inspection {
    int32_t chunk;                /* its place in the step; at most one inspection of a chunk */
    int32_t num_attention_layers; /* of attention */
    const int32_t *attention_layers;
    float *hidden_states; /* [L + 1, T, C]: embedding, what each layer but the last gives, and what
                             the final norm gives */
    float *attention;     /* [num_attention_layers, H, T, S]; what a token cannot see is 0 */
} nextword_inspection;

/* One step. Chunks are consecutive tokens of different sequences, one after another. */
typedef struct nextword_step_input {
    int32_t num_chunks;             /* R, at least 1 */
    int32_t table_stride;           /* block ids from one chunk's table to the next */
    const int32_t *token_ids;       /* [N] */
    const int32_t *chunk_tokens;    /* [R]: T of each chunk, at least 1; they add up to N */
    const int32_t *chunk_starts;    /* [R]: position of the first token of each chunk */
    const int32_t *block_tables;    /* [R, table_stride]: block ids in the order of positions, at
                                       least up to the last new token */
    int32_t num_logit_rows;
    int32_t num_inspections;
    const int32_t *logit_tokens;    /* [num_logit_rows]: places in token_ids, in any order */
    float *logits;                  /* [num_logit_rows, logits_stride], the first V are written */
    int64_t logits_stride;          /* in numbers, at least V */
    const nextword_inspection *inspections;
} nextword_step_input;

NEXTWORD_EXPORT int32_t nextword_interface(void);

/* An English word for a status. */
NEXTWORD_EXPORT const char *nextword_status_text(int32_t status);

/* The instruction sets of this build that this processor has, best first, separated by spaces:
 * of avx512bf16, avx512, avx2 and baseline. */
NEXTWORD_EXPORT const char *nextword_isas(void);

/* Threads that compute together: the caller's and num_threads - 1 more. They wait passively. */
NEXTWORD_EXPORT int32_t nextword_pool_create(int32_t num_threads, nextword_pool **pool);
NEXTWORD_EXPORT void nextword_pool_destroy(nextword_pool *pool);

/* A network without weights. `isa` is one of nextword_isas(), null is the best. The rotary tables
 * [P, D / 2] are copied: for the pair (i, i + D / 2) of a head. */
NEXTWORD_EXPORT int32_t nextword_model_create(const nextword_shape *shape, nextword_pool *pool,
                                              const char *isa, const float *cosines,
                                              const float *sines, nextword_model **model);
NEXTWORD_EXPORT void nextword_model_destroy(nextword_model *model);
NEXTWORD_EXPORT const char *nextword_model_isa(const nextword_model *model);

/* Memory of a model of this shape in bytes, before one is made. */
NEXTWORD_EXPORT int64_t nextword_weight_bytes(const nextword_shape *shape);

/* Pack (and round) one tensor; the source (F32, BF16 or F16) is not needed afterwards. */
NEXTWORD_EXPORT int32_t nextword_model_load(nextword_model *model, int32_t tensor, int32_t layer,
                                            const void *source, int32_t source_type, int64_t rows,
                                            int64_t columns);

/* OK, or MISSING_TENSOR and which is the first one. */
NEXTWORD_EXPORT int32_t nextword_model_check(const nextword_model *model, int32_t *tensor,
                                             int32_t *layer);

/* Rows [num_rows, C] of the embedding as the network reads them. */
NEXTWORD_EXPORT int32_t nextword_model_embedding(const nextword_model *model,
                                                 const int32_t *token_ids, int32_t num_rows,
                                                 float *rows);

/* Blocks of keys and values of all layers; type F32 or BF16. Memory is touched when written. */
NEXTWORD_EXPORT int64_t nextword_cache_bytes(const nextword_shape *shape, int32_t num_blocks,
                                             int32_t type);
NEXTWORD_EXPORT int32_t nextword_cache_create(const nextword_model *model, int32_t num_blocks,
                                              int32_t type, nextword_cache **cache);
NEXTWORD_EXPORT void nextword_cache_destroy(nextword_cache *cache);
NEXTWORD_EXPORT int32_t nextword_cache_clear(nextword_cache *cache, const int32_t *block_ids,
                                             int32_t num_blocks);

/* Compute a step. Arguments are checked before anything is written. No memory is taken once a
 * step of the same size was computed. */
NEXTWORD_EXPORT int32_t nextword_step(nextword_model *model, nextword_cache *cache,
                                      const nextword_step_input *input);

#ifdef __cplusplus
}
#endif
#endif
