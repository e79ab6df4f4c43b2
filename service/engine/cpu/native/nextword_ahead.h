/* Several tokens of each row in one go, computed and drawn by a thread of the library's own while
 * the caller does something else. One run at a time; until it was waited for, nothing else may be
 * called for the same model, cache and pool. */
#ifndef NEXTWORD_AHEAD_H
#define NEXTWORD_AHEAD_H

#include "nextword_draw.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A row has none: it had come to its end. NEXTWORD_BAD_LOGITS: its logits define no distribution. */
#define NEXTWORD_NOT_COMPUTED (-1)

typedef struct nextword_ahead nextword_ahead;

/* What is computed next. All of it is copied. */
typedef struct nextword_ahead_rows {
    int32_t num_rows;
    int32_t table_stride;        /* block ids from one row's table to the next */
    const int32_t *token_ids;    /* [num_rows]: the token to compute first */
    const int32_t *starts;       /* [num_rows]: its position */
    const int32_t *lasts;        /* [num_rows]: position of the last one to compute, in this run and
                                    those that go on from it */
    const int32_t *block_tables; /* [num_rows, table_stride]: up to `lasts` */
    /* [num_rows]: without penalties, bias and bans. An ending id is the row's last. */
    const nextword_draw_settings *const *settings;
} nextword_ahead_rows;

NEXTWORD_EXPORT int32_t nextword_ahead_create(nextword_model *model, nextword_cache *cache,
                                              int32_t vocab_size, nextword_ahead **ahead);
/* Waits for a run. */
NEXTWORD_EXPORT void nextword_ahead_destroy(nextword_ahead *ahead);

/* Begin a run of some steps. drawn [num_steps, num_rows] is written until it was waited for,
 * as far as steps were made. */
NEXTWORD_EXPORT int32_t nextword_ahead_start(nextword_ahead *ahead, const nextword_ahead_rows *rows,
                                             int32_t num_steps, int32_t *drawn);

/* Begin a run for the same rows, where the last one has left them. */
NEXTWORD_EXPORT int32_t nextword_ahead_go_on(nextword_ahead *ahead, int32_t num_steps,
                                             int32_t *drawn);

/* Cut runs short after the step during which something can be read from a descriptor; -1: none. */
NEXTWORD_EXPORT void nextword_ahead_watch(nextword_ahead *ahead, int descriptor);

/* Return when no run is under way: the last one's status, and how many steps it made. */
NEXTWORD_EXPORT int32_t nextword_ahead_wait(nextword_ahead *ahead, int32_t *num_made);

/* Cut a run short after the step that is under way, and return when it is over. */
NEXTWORD_EXPORT void nextword_ahead_stop(nextword_ahead *ahead);

#ifdef __cplusplus
}
#endif
#endif
