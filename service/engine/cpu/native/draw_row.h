/* The choice of one token from one row of logits. */
#ifndef NEXTWORD_DRAW_ROW_H
#define NEXTWORD_DRAW_ROW_H

#include <stdint.h>

#include "draw_kernels.h"
#include "nextword_draw.h"

namespace nextword {

/* Memory for a row: each as long as the vocabulary, `stretches` a part of it. */
struct DrawScratch {
    int64_t *stretches; /* sums of weights */
    float *changed;     /* logits after penalties, bias and bans */
    float *values;      /* of the tokens that top-k keeps; maxima while it looks for them */
    int32_t *places;    /* ids of tokens that are kept or compared */
    int32_t *weights;
    int32_t *order;  /* places of the heaviest of them */
    int32_t *counts; /* how often a text has each token; zeros between rows */
};

/* The id, NEXTWORD_BAD_LOGITS or NEXTWORD_BAD_CHANGED. The settings are sound. */
int32_t draw_row(const DrawKernels &kernels, const float *logits, int32_t vocabulary,
                 const nextword_draw_settings &settings, int64_t position, DrawScratch &scratch);

}  // namespace nextword
#endif
