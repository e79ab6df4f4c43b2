/* One row: penalties, bias, bans, then the likeliest token, or top-k, weights, top-p, min-p and one
 * random number. Each stage rounds and breaks ties as logit_stages.py and weight_stages.py do. */
#include "draw_row.h"

#include <math.h>
#include <string.h>

#include <algorithm>

namespace nextword {
namespace {

/* The largest logits are looked for above the k-th largest of so many times k maxima. */
constexpr int64_t MAXIMA_PER_KEPT = 4;
constexpr int32_t LEAST_GROUP = 32;
/* Fewer tokens than that are put in order at once. */
constexpr int32_t FEW = 256;

/* Philox4x32-10: the first word of ten rounds (random_numbers.py). */
uint32_t random_word(uint64_t seed, uint32_t sample, uint64_t position) {
    uint32_t c0 = uint32_t(position), c1 = uint32_t(position >> 32), c2 = sample, c3 = 0;
    uint32_t k0 = uint32_t(seed), k1 = uint32_t(seed >> 32);
    for (int round = 0; round < 10; round++) {
        const uint64_t first = uint64_t(0xD2511F53) * c0, second = uint64_t(0xCD9E8D57) * c2;
        c0 = uint32_t(second >> 32) ^ c1 ^ k0;
        c1 = uint32_t(second);
        c2 = uint32_t(first >> 32) ^ c3 ^ k1;
        c3 = uint32_t(first);
        k0 += 0x9E3779B9;
        k1 += 0xBB67AE85;
    }
    return c0;
}

bool changes_logits(const nextword_draw_settings &settings, int64_t position) {
    return settings.is_penalised || settings.num_biased ||
           (settings.num_ending && position - settings.num_prompt_tokens < settings.min_tokens);
}

void change_logits(float *logits, const nextword_draw_settings &settings, int64_t position,
                   int32_t *counts) {
    if (settings.is_penalised) {
        const int32_t *text = settings.text;
        if (settings.repetition != 1.0f) {
            for (int64_t i = 0; i < position; i++) {
                float &logit = logits[text[i]];
                if (counts[text[i]]++ == 0)
                    logit = logit > 0 ? logit / settings.repetition : logit * settings.repetition;
            }
            for (int64_t i = 0; i < position; i++) counts[text[i]] = 0;
        }
        for (int64_t i = settings.num_prompt_tokens; i < position; i++) counts[text[i]]++;
        for (int64_t i = settings.num_prompt_tokens; i < position; i++) {
            int32_t &count = counts[text[i]];
            if (count == 0) continue;
            float &logit = logits[text[i]];
            logit = logit - settings.presence - float(settings.frequency * count);
            count = 0;
        }
    }
    for (int32_t i = 0; i < settings.num_biased; i++)
        logits[settings.biased_ids[i]] += settings.biases[i];
    if (position - settings.num_prompt_tokens < settings.min_tokens)
        for (int32_t i = 0; i < settings.num_ending; i++)
            logits[settings.ending_ids[i]] = -INFINITY;
}

/* Keep the k largest logits, the lower ids of a tie: their ids and values, rising by id. */
int32_t keep_largest(const DrawKernels &kernels, const float *logits, int32_t vocabulary, int32_t k,
                     float *maxima, int32_t num_maxima, DrawScratch &scratch) {
    float limit = -INFINITY;
    const auto larger = [](float a, float b) { return a > b; };
    if (num_maxima >= k) {
        /* As many groups have a logit that is at least as large. */
        std::nth_element(maxima, maxima + k - 1, maxima + num_maxima, larger);
        limit = maxima[k - 1];
    }
    int32_t *ids = scratch.places;
    const int32_t found = kernels.at_least(logits, vocabulary, limit, ids);
    float *values = scratch.values;
    for (int32_t i = 0; i < found; i++) values[i] = logits[ids[i]];
    std::nth_element(values, values + k - 1, values + found, larger);
    const float nth = values[k - 1];
    int32_t room = k;
    for (int32_t i = 0; i < found; i++) room -= logits[ids[i]] > nth;
    int32_t kept = 0;
    for (int32_t i = 0; i < found; i++) {
        const float logit = logits[ids[i]];
        if (logit > nth || (logit == nth && room-- > 0)) {
            values[kept] = logit;
            ids[kept++] = ids[i];
        }
    }
    return kept;
}

/* Cut to the fewest of the heaviest that reach the share of the sum; of equal ones the first. */
void cut_by_top_p(int32_t *weights, int32_t size, int64_t total, double top_p, int32_t *order) {
    /* What stands before a token is a whole number, so at least the heaviest one is kept. */
    const double limit = std::max(top_p * double(total), 1.0);
    int64_t before = 0;
    /* The edge is looked for among the weights from `low` up to below `low + width`: at first by
     * powers of two. Neighbours are often alike, so each has a sum of its own to add to. */
    int64_t powers[4][32] = {};
    for (int32_t i = 0; i < size; i++)
        powers[i & 3][31 - __builtin_clz(uint32_t(weights[i]) | 1)] += weights[i];
    const auto sum_of = [&powers](int power) {
        return powers[0][power] + powers[1][power] + powers[2][power] + powers[3][power];
    };
    int power = 30;
    /* The last part that something reaches before the limit. */
    while (power > 0 && double(before + sum_of(power)) < limit) before += sum_of(power--);
    int64_t low = int64_t(1) << power, width = low;
    int32_t count = 0;
    for (int32_t i = 0; i < size; i++) {
        order[count] = i;
        count += weights[i] >> power == 1;
    }
    while (count > FEW && width > 1) {
        const int64_t part = std::max<int64_t>(1, width / 256);
        int64_t sums[256] = {};
        for (int32_t i = 0; i < count; i++) {
            const int32_t weight = weights[order[i]];
            sums[(weight - low) / part] += weight;
        }
        int64_t edge = 255;
        while (edge > 0 && double(before + sums[edge]) < limit) before += sums[edge--];
        int32_t left = 0;
        for (int32_t i = 0; i < count; i++)
            if ((weights[order[i]] - low) / part == edge) order[left++] = order[i];
        count = left;
        low += edge * part;
        width = part;
    }
    if (width > 1)
        std::sort(order, order + count, [weights](int32_t a, int32_t b) {
            return weights[a] != weights[b] ? weights[a] > weights[b] : a < b;
        });
    int32_t kept = 0;
    while (kept < count && double(before) < limit) before += weights[order[kept++]];
    const int32_t smallest = weights[order[kept - 1]], last = order[kept - 1];
    for (int32_t i = 0; i < size; i++)
        weights[i] = weights[i] >= smallest ? weights[i] : 0;
    for (int32_t i = last + 1; i < size; i++) weights[i] = weights[i] == smallest ? 0 : weights[i];
}

void cut_by_min_p(int32_t *weights, int32_t size, double min_p) {
    int32_t most = 0;
    for (int32_t i = 0; i < size; i++) most = weights[i] > most ? weights[i] : most;
    const double limit = min_p * double(most);
    for (int32_t i = 0; i < size; i++) weights[i] = double(weights[i]) < limit ? 0 : weights[i];
}

/* The first place whose running sum passes the word's share of the whole. */
int32_t choose(const int32_t *weights, int32_t size, int64_t total, const int64_t *stretches,
               uint32_t word) {
    /* The product has up to 96 bits; its lower half cannot carry into what is left of the upper. */
    const uint64_t high = uint64_t(total) >> 32, low = uint64_t(total) & 0xFFFFFFFF;
    const int64_t threshold = int64_t(high * word + ((low * word) >> 32));
    int64_t running = 0;
    int32_t place = 0;
    while (running + stretches[place / DRAW_STRETCH] <= threshold) {
        running += stretches[place / DRAW_STRETCH];
        place += DRAW_STRETCH;
    }
    while (place < size - 1 && (running += weights[place]) <= threshold) place++;
    return place;
}

int64_t add_up(const int32_t *weights, int32_t size, int64_t *stretches) {
    int64_t total = 0;
    for (int32_t start = 0; start < size; start += DRAW_STRETCH) {
        const int32_t end = std::min(start + DRAW_STRETCH, size);
        int64_t sum = 0;
        for (int32_t i = start; i < end; i++) sum += weights[i];
        stretches[start / DRAW_STRETCH] = sum;
        total += sum;
    }
    return total;
}

}  // namespace

int32_t draw_row(const DrawKernels &kernels, const float *logits, int32_t vocabulary,
                 const nextword_draw_settings &settings, int64_t position, DrawScratch &scratch) {
    const bool keeps_k = settings.top_k > 1 && settings.top_k < vocabulary;
    int64_t group = LEAST_GROUP;
    while (keeps_k && vocabulary / (2 * group) >= MAXIMA_PER_KEPT * settings.top_k) group *= 2;
    if (!keeps_k) group = int64_t(vocabulary) + LEAST_GROUP;
    float *maxima = scratch.values;
    float largest = kernels.largest(logits, vocabulary, int32_t(group), maxima);
    if (!isfinite(largest)) return NEXTWORD_BAD_LOGITS;
    if (changes_logits(settings, position)) {
        memcpy(scratch.changed, logits, sizeof(float) * size_t(vocabulary));
        change_logits(scratch.changed, settings, position, scratch.counts);
        logits = scratch.changed;
        largest = kernels.largest(logits, vocabulary, int32_t(group), maxima);
        if (!isfinite(largest)) return NEXTWORD_BAD_CHANGED;
    }
    if (settings.top_k == 1) return kernels.first_equal(logits, vocabulary, largest);

    int32_t size = vocabulary;
    const int32_t *ids = nullptr;
    if (keeps_k) {
        const int32_t num_maxima = int32_t((vocabulary + group - 1) / group);
        size = keep_largest(kernels, logits, vocabulary, settings.top_k, maxima, num_maxima,
                            scratch);
        logits = scratch.values;
        ids = scratch.places;
    }
    int32_t *weights = scratch.weights;
    int64_t total = kernels.weights(logits, size, largest, settings.temperature, weights,
                                    scratch.stretches);
    if (settings.top_p < 1.0 || settings.min_p > 0.0) {
        if (settings.top_p < 1.0)
            cut_by_top_p(weights, size, total, settings.top_p, scratch.order);
        if (settings.min_p > 0.0) cut_by_min_p(weights, size, settings.min_p);
        total = add_up(weights, size, scratch.stretches);
    }
    const uint32_t word = random_word(settings.seed, settings.sample, uint64_t(position));
    const int32_t place = choose(weights, size, total, scratch.stretches, word);
    return ids ? ids[place] : place;
}

}  // namespace nextword
