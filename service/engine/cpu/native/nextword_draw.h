/* The sampler's choice of a token, row by row: the same integers in the same order as in
 * service/engine/weight_stages.py and logit_stages.py, so the same logits give the same token.
 *
 * A row is one sequence's logits, which are not changed. Rows know nothing of one another. */
#ifndef NEXTWORD_DRAW_H
#define NEXTWORD_DRAW_H

#include <stdint.h>

#include "nextword_cpu.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What a row has in place of a drawn id. */
#define NEXTWORD_BAD_LOGITS (-2) /* NaN, or no finite maximum */
#define NEXTWORD_BAD_CHANGED (-3) /* the same, after penalties, bias and bans */

/* How a sequence's tokens are drawn. It stays the same from its first token to its last. */
typedef struct nextword_draw_settings {
    uint64_t seed;
    double top_p;     /* 1 keeps all */
    double min_p;     /* 0 keeps all */
    double frequency; /* penalty, times the count in the continuation */
    const int32_t *text; /* [position]: prompt and continuation; null without penalties */
    const int32_t *biased_ids; /* [num_biased], each once */
    const float *biases;       /* [num_biased] */
    const int32_t *ending_ids; /* [num_ending]: cannot come while the continuation is short */
    int32_t num_biased;
    int32_t num_ending;
    int32_t num_prompt_tokens;
    int32_t min_tokens; /* of the continuation before an ending id may come */
    uint32_t sample;
    int32_t top_k; /* 0 keeps all; 1 takes the likeliest whatever the temperature */
    float temperature;
    float repetition; /* 1 is off */
    float presence;
    int32_t is_penalised; /* whether any of the three penalties is on */
} nextword_draw_settings;

/* Draw one token for each row.
 *
 * logits: rows of `vocab_size` numbers, `stride` apart. logit_rows [num_rows]: where each row is.
 * settings [num_rows]. positions [num_rows]: tokens before the one to draw. drawn [num_rows]: the
 * ids, or one of the two above. isa: as for nextword_model_create; null is the best.
 *
 * Returns a nextword_status: BAD_TOKEN where an id of the settings or of the text is outside the
 * vocabulary, BAD_ARGUMENT, UNKNOWN_ISA, OUT_OF_MEMORY. No memory is taken once a row of the same
 * vocabulary was drawn in this thread. */
NEXTWORD_EXPORT int32_t nextword_draw(const float *logits, int64_t stride, int32_t vocab_size,
                                      int32_t num_rows, const int32_t *logit_rows,
                                      const nextword_draw_settings *const *settings,
                                      const int64_t *positions, int32_t *drawn, const char *isa);

/* Weights [size] of logits, for checks: `exp((logit - largest) / temperature)` in units of 2^-30. */
NEXTWORD_EXPORT int32_t nextword_draw_weights(const float *logits, int32_t size, float temperature,
                                              int32_t *weights, const char *isa);

#ifdef __cplusplus
}
#endif
#endif
