/* Steps of single tokens, one after another, each drawn from the logits of the one before. */
#include "nextword_ahead.h"

#include <poll.h>
#include <pthread.h>
#include <string.h>

#include <atomic>
#include <new>
#include <vector>

#include "model.h"
#include "pool.h"

namespace {

using int32s = std::vector<int32_t>;

constexpr int64_t MOST_LOGITS_OF_ONE_THREAD = 32768;

struct Row {
    int32_t token_id;
    int32_t position;
    int32_t last;
    bool is_over;
    nextword_draw_settings settings;
    int32s ending_ids;
};

/* One step's arguments, for the rows that are still going on. */
struct Step {
    int32s rows, token_ids, sizes, starts, tables, places, drawn;
    std::vector<int64_t> positions;
    std::vector<const nextword_draw_settings *> settings;

    void clear() {
        for (int32s *each : {&rows, &token_ids, &sizes, &starts, &tables, &places, &drawn})
            each->clear();
        positions.clear();
        settings.clear();
    }
};

}  // namespace

struct nextword_ahead {
    nextword_model *model = nullptr;
    nextword_cache *cache = nullptr;
    int32_t vocabulary = 0;

    std::vector<Row> rows;
    int32s tables;
    int32_t table_stride = 0;
    std::vector<float> logits;
    Step step;

    pthread_t thread = {};
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
    bool is_running = false, is_closing = false;
    int32_t num_steps = 0, num_made = 0, status = NEXTWORD_OK;
    int32_t *drawn = nullptr;
    std::atomic<int> descriptor{-1};
    std::atomic<bool> is_stopping{false};

    int32_t begin(int32_t steps, int32_t *to) {
        pthread_mutex_lock(&mutex);
        num_steps = steps;
        drawn = to;
        is_stopping = false;
        is_running = true;
        pthread_cond_broadcast(&changed);
        pthread_mutex_unlock(&mutex);
        return NEXTWORD_OK;
    }

    int32_t wait() {
        pthread_mutex_lock(&mutex);
        while (is_running) pthread_cond_wait(&changed, &mutex);
        const int32_t result = status;
        pthread_mutex_unlock(&mutex);
        return result;
    }

    void work() {
        pthread_mutex_lock(&mutex);
        for (;;) {
            while (!is_running && !is_closing) pthread_cond_wait(&changed, &mutex);
            if (!is_running) break;
            pthread_mutex_unlock(&mutex);
            const int32_t result = run();
            pthread_mutex_lock(&mutex);
            status = result;
            is_running = false;
            pthread_cond_broadcast(&changed);
        }
        pthread_mutex_unlock(&mutex);
    }

    int32_t run() {
        for (num_made = 0; num_made < num_steps;) {
            int32_t *to = drawn + int64_t(num_made) * int64_t(rows.size());
            for (size_t row = 0; row < rows.size(); row++) to[row] = NEXTWORD_NOT_COMPUTED;
            int32_t result;
            try {
                result = advance(to);
            } catch (const std::bad_alloc &) {
                result = NEXTWORD_OUT_OF_MEMORY;
            }
            if (result != NEXTWORD_OK) return result;
            num_made++;
            if (is_stopping || can_be_read()) break;
        }
        return NEXTWORD_OK;
    }

    bool can_be_read() const {
        pollfd asked = {descriptor, POLLIN, 0};
        return poll(&asked, 1, 0) > 0;
    }

    int32_t draw_some(int32_t first, int32_t count) {
        return nextword_draw(logits.data(), vocabulary, vocabulary, count,
                             step.places.data() + first, step.settings.data() + first,
                             step.positions.data() + first, step.drawn.data() + first,
                             model->kernels->name);
    }

    int32_t draw(int32_t count) {
        /* Of few logits the threads would wait longer than they draw. */
        if (count < 2 || int64_t(count) * vocabulary < MOST_LOGITS_OF_ONE_THREAD)
            return draw_some(0, count);
        std::atomic<int32_t> result{NEXTWORD_OK};
        model->pool->run(count, [&](int place) {
            const int32_t status = draw_some(place, 1);
            if (status != NEXTWORD_OK) result = status;
        });
        return result;
    }

    int32_t advance(int32_t *to) {
        step.clear();
        for (size_t number = 0; number < rows.size(); number++) {
            const Row &row = rows[number];
            if (row.is_over || row.position > row.last) continue;
            step.places.push_back(int32_t(step.rows.size()));
            step.rows.push_back(int32_t(number));
            step.token_ids.push_back(row.token_id);
            step.sizes.push_back(1);
            step.starts.push_back(row.position);
            step.positions.push_back(int64_t(row.position) + 1);
            step.settings.push_back(&row.settings);
            const auto table = tables.begin() + int64_t(number) * table_stride;
            step.tables.insert(step.tables.end(), table, table + table_stride);
        }
        const int32_t count = int32_t(step.rows.size());
        if (count == 0) return NEXTWORD_OK;
        logits.resize(size_t(count) * size_t(vocabulary));
        nextword_step_input input = {};
        input.num_chunks = input.num_logit_rows = count;
        input.table_stride = table_stride;
        input.token_ids = step.token_ids.data();
        input.chunk_tokens = step.sizes.data();
        input.chunk_starts = step.starts.data();
        input.block_tables = step.tables.data();
        input.logit_tokens = step.places.data();
        input.logits = logits.data();
        input.logits_stride = vocabulary;
        int32_t result = nextword_step(model, cache, &input);
        if (result != NEXTWORD_OK) return result;
        step.drawn.resize(size_t(count));
        result = draw(count);
        if (result != NEXTWORD_OK) return result;
        for (int32_t place = 0; place < count; place++) {
            Row &row = rows[size_t(step.rows[size_t(place)])];
            const int32_t token_id = step.drawn[size_t(place)];
            to[step.rows[size_t(place)]] = token_id;
            row.token_id = token_id;
            row.position++;
            row.is_over = token_id < 0;
            for (const int32_t ending : row.ending_ids) row.is_over |= token_id == ending;
        }
        return NEXTWORD_OK;
    }
};

int32_t nextword_ahead_create(nextword_model *model, nextword_cache *cache, int32_t vocab_size,
                              nextword_ahead **ahead) {
    nextword_ahead *made = new (std::nothrow) nextword_ahead;
    if (!made) return NEXTWORD_OUT_OF_MEMORY;
    made->model = model;
    made->cache = cache;
    made->vocabulary = vocab_size;
    const auto main = [](void *self) -> void * {
        static_cast<nextword_ahead *>(self)->work();
        return nullptr;
    };
    if (pthread_create(&made->thread, nullptr, main, made) != 0) {
        delete made;
        return NEXTWORD_OUT_OF_MEMORY;
    }
    *ahead = made;
    return NEXTWORD_OK;
}

void nextword_ahead_destroy(nextword_ahead *ahead) {
    if (!ahead) return;
    pthread_mutex_lock(&ahead->mutex);
    ahead->is_closing = true;
    pthread_cond_broadcast(&ahead->changed);
    pthread_mutex_unlock(&ahead->mutex);
    pthread_join(ahead->thread, nullptr);
    delete ahead;
}

int32_t nextword_ahead_start(nextword_ahead *ahead, const nextword_ahead_rows *rows,
                             int32_t num_steps, int32_t *drawn) {
    ahead->wait();
    if (rows->num_rows < 1 || rows->table_stride < 1 || num_steps < 1) return NEXTWORD_BAD_ARGUMENT;
    const size_t count = size_t(rows->num_rows), stride = size_t(rows->table_stride);
    for (size_t number = 0; number < count; number++) {
        const nextword_draw_settings &settings = *rows->settings[number];
        if (settings.is_penalised || settings.num_biased) return NEXTWORD_BAD_ARGUMENT;
    }
    try {
        ahead->rows.resize(count);
        ahead->tables.assign(rows->block_tables, rows->block_tables + count * stride);
        for (size_t number = 0; number < count; number++) {
            Row &row = ahead->rows[number];
            row.token_id = rows->token_ids[number];
            row.position = rows->starts[number];
            row.last = rows->lasts[number];
            row.is_over = false;
            row.settings = *rows->settings[number];
            /* Who gave them may forget them while we compute. */
            const int32_t *ending = row.settings.ending_ids;
            row.ending_ids.assign(ending, ending + row.settings.num_ending);
            row.settings.ending_ids = nullptr;
            row.settings.num_ending = 0;
        }
    } catch (const std::bad_alloc &) {
        ahead->rows.clear();
        return NEXTWORD_OUT_OF_MEMORY;
    }
    ahead->table_stride = rows->table_stride;
    return ahead->begin(num_steps, drawn);
}

int32_t nextword_ahead_go_on(nextword_ahead *ahead, int32_t num_steps, int32_t *drawn) {
    ahead->wait();
    if (num_steps < 1 || ahead->rows.empty()) return NEXTWORD_BAD_ARGUMENT;
    return ahead->begin(num_steps, drawn);
}

void nextword_ahead_watch(nextword_ahead *ahead, int descriptor) {
    ahead->descriptor = descriptor;
}

int32_t nextword_ahead_wait(nextword_ahead *ahead, int32_t *num_made) {
    const int32_t status = ahead->wait();
    *num_made = ahead->num_made;
    return status;
}

void nextword_ahead_stop(nextword_ahead *ahead) {
    ahead->is_stopping = true;
    ahead->wait();
}
