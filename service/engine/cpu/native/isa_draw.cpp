/* The parts of drawing that go over a whole row of logits, in the compiler's own vectors.
 *
 * Compiled once for each instruction set. Maxima and comparisons are exact, sums are of integers:
 * only the exponential rounds, by less than 2^-52 of a weight, which is then rounded to a whole
 * number of at most 2^30. */
#include <string.h>

#include "draw_kernels.h"

namespace nextword {
namespace NEXTWORD_ISA {
namespace {

#if defined(__AVX512F__)
constexpr int LANES = 8;
#elif defined(__AVX2__)
constexpr int LANES = 4;
#else
constexpr int LANES = 2;
#endif

typedef double Doubles __attribute__((vector_size(8 * LANES)));
typedef int64_t Longs __attribute__((vector_size(8 * LANES)));
typedef float HalfFloats __attribute__((vector_size(4 * LANES)));
typedef int32_t HalfInts __attribute__((vector_size(4 * LANES)));
typedef float Floats __attribute__((vector_size(8 * LANES)));
typedef int32_t Ints __attribute__((vector_size(8 * LANES)));
constexpr int WIDE = 2 * LANES;

template <typename Vector, typename Number>
inline Vector load(const Number *from) {
    Vector vector;
    memcpy(&vector, from, sizeof vector);
    return vector;
}

inline Doubles multiply_add(Doubles a, Doubles b, double c) {
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
    Doubles sum;
    for (int lane = 0; lane < LANES; lane++) sum[lane] = __builtin_fma(a[lane], b[lane], c);
    return sum;
#else
    return a * b + c;
#endif
}

/* Added to a number below 2^51 it leaves the nearest whole one, of two the even one, in the low
 * bits. */
constexpr double ROUNDER = 6755399441055744.0; /* 1.5 * 2^52 */
constexpr double LOG2_E = 1.4426950408889634;
/* ln 2 in two parts; the first has so few bits that its product with a power is exact. */
constexpr double LN2_HIGH = 0x1.62e42fee00000p-1;
constexpr double LN2_LOW = 0x1.a39ef35793c76p-33;
/* Below it a weight is less than a half. */
constexpr float LOWEST = -22.0f;

/* exp(x) * 2^30 for x from LOWEST to 0, rounded. */
inline Longs weights_of(Doubles x) {
    const Doubles shifted = x * LOG2_E + ROUNDER;
    const Doubles power = shifted - ROUNDER;
    const Doubles r = (x - power * LN2_HIGH) - power * LN2_LOW;
    /* The polynomial of degree 11 that errs least from -ln(2)/2 to ln(2)/2: 3e-18. */
    Doubles sum = r * 0x1.af632a0f7e2cep-26 + 0x1.28b4101c77212p-22;
    sum = multiply_add(sum, r, 0x1.71ddf56d8deb5p-19);
    sum = multiply_add(sum, r, 0x1.a01991a10d9aep-16);
    sum = multiply_add(sum, r, 0x1.a01a01b1461c5p-13);
    sum = multiply_add(sum, r, 0x1.6c16c1880029fp-10);
    sum = multiply_add(sum, r, 0x1.111111110f21ep-7);
    sum = multiply_add(sum, r, 0x1.555555554f0bap-5);
    sum = multiply_add(sum, r, 0x1.555555555555ap-3);
    sum = multiply_add(sum, r, 0x1.0000000000011p-1);
    sum = multiply_add(sum, r, 1.0);
    sum = multiply_add(sum, r, 1.0);
    Longs bits;
    memcpy(&bits, &shifted, sizeof bits);
    /* The power's low bits become an exponent, 30 larger. */
    const Longs exponent = (bits + (1023 + 30)) << 52;
    Doubles scale;
    memcpy(&scale, &exponent, sizeof scale);
    const Doubles whole = sum * scale + ROUNDER;
    memcpy(&bits, &whole, sizeof bits);
    return bits & 0xFFFFFFFF;
}

float find_largest(const float *values, int32_t size, int32_t group, float *maxima) {
    float whole = -__builtin_inff();
    bool has_nan = false;
    for (int32_t start = 0, place = 0; start < size; start += group, place++) {
        const int32_t end = start + group < size ? start + group : size;
        float most = values[start];
        int32_t i = start;
        if (end - start >= 2 * WIDE) {
            Floats first = load<Floats>(values + i), second = load<Floats>(values + i + WIDE);
            Ints odd = (first != first) | (second != second);
            for (i += 2 * WIDE; i + 2 * WIDE <= end; i += 2 * WIDE) {
                const Floats a = load<Floats>(values + i), b = load<Floats>(values + i + WIDE);
                first = a > first ? a : first;
                second = b > second ? b : second;
                odd |= (a != a) | (b != b);
            }
            first = first > second ? first : second;
            for (int lane = 0; lane < WIDE; lane++) {
                most = first[lane] > most ? first[lane] : most;
                has_nan |= odd[lane] != 0;
            }
        }
        for (; i < end; i++) {
            most = values[i] > most ? values[i] : most;
            has_nan |= values[i] != values[i];
        }
        maxima[place] = most;
        whole = most > whole ? most : whole;
    }
    return has_nan ? __builtin_nanf("") : whole;
}

int32_t find_at_least(const float *values, int32_t size, float limit, int32_t *places) {
    int32_t count = 0, i = 0;
    for (; i + 2 * WIDE <= size; i += 2 * WIDE) {
        const Ints found = (load<Floats>(values + i) >= limit) |
                           (load<Floats>(values + i + WIDE) >= limit);
        Longs any;
        memcpy(&any, &found, sizeof any);
        int64_t bits = 0;
        for (int lane = 0; lane < LANES; lane++) bits |= any[lane];
        if (bits == 0) continue;
        for (int32_t j = i; j < i + 2 * WIDE; j++)
            if (values[j] >= limit) places[count++] = j;
    }
    for (; i < size; i++)
        if (values[i] >= limit) places[count++] = i;
    return count;
}

int32_t find_first_equal(const float *values, int32_t size, float value) {
    for (int32_t i = 0;; i++)
        if (i == size || values[i] == value) return i;
}

int64_t compute_weights(const float *values, int32_t size, float largest, float temperature,
                        int32_t *weights, int64_t *stretches) {
    int64_t total = 0;
    /* Room for a whole vector more: its lanes are computed and not looked at. */
    float scaled[DRAW_STRETCH + WIDE];
    int32_t whole[DRAW_STRETCH + WIDE];
    for (int32_t start = 0; start < size; start += DRAW_STRETCH) {
        const int32_t count = size - start < DRAW_STRETCH ? size - start : DRAW_STRETCH;
        const float *from = values + start;
        for (int32_t i = 0; i < count; i++) {
            const float each = (from[i] - largest) / temperature;
            scaled[i] = each > LOWEST ? each : LOWEST;
        }
        for (int32_t i = count; i < count + WIDE; i++) scaled[i] = 0.0f;
        int32_t *to = count == DRAW_STRETCH ? weights + start : whole;
        for (int32_t i = 0; i < count; i += WIDE) {
            /* Two at once: each waits for its own last product most of the time. */
            const Longs first = weights_of(
                __builtin_convertvector(load<HalfFloats>(scaled + i), Doubles));
            const Longs second = weights_of(
                __builtin_convertvector(load<HalfFloats>(scaled + i + LANES), Doubles));
            const HalfInts a = __builtin_convertvector(first, HalfInts);
            const HalfInts b = __builtin_convertvector(second, HalfInts);
            memcpy(to + i, &a, sizeof a);
            memcpy(to + i + LANES, &b, sizeof b);
        }
        int64_t sum = 0;
        for (int32_t i = 0; i < count; i++) sum += to[i];
        if (to == whole) memcpy(weights + start, whole, sizeof(int32_t) * size_t(count));
        stretches[start / DRAW_STRETCH] = sum;
        total += sum;
    }
    return total;
}

}  // namespace

extern const DrawKernels draw_kernels = {find_largest, find_at_least, find_first_equal,
                                         compute_weights};

}  // namespace NEXTWORD_ISA
}  // namespace nextword
