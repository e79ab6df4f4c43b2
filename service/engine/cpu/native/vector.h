// The widest vectors of one instruction set. Included once in each isa_*.cpp build, inside its
// namespace: nothing here may be shared between builds.
#ifndef NEXTWORD_VECTOR_H
#define NEXTWORD_VECTOR_H

#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
// GCC's own headers set undefined registers to themselves and warn of it.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace NEXTWORD_ISA {

#if defined(__AVX512F__)
constexpr int LANES = 16;
#elif defined(__AVX2__)
constexpr int LANES = 8;
#else
constexpr int LANES = 4;
#endif

#define INLINE static inline __attribute__((always_inline))

typedef float F __attribute__((vector_size(4 * LANES)));
typedef int32_t I __attribute__((vector_size(4 * LANES)));
typedef uint32_t U __attribute__((vector_size(4 * LANES)));

INLINE F load(const float *p) { F v; memcpy(&v, p, sizeof v); return v; }
INLINE void store(float *p, F v) { memcpy(p, &v, sizeof v); }
INLINE U load_words(const void *p) { U v; memcpy(&v, p, sizeof v); return v; }
INLINE int32_t load_word(const void *p) { int32_t v; memcpy(&v, p, sizeof v); return v; }
typedef int16_t Half __attribute__((vector_size(2 * LANES)));
INLINE void store_low_halves(int16_t *p, I v) {
    const Half low = __builtin_convertvector(v, Half);
    memcpy(p, &low, sizeof low);
}
INLINE F to_float(I v) { return __builtin_convertvector(v, F); }

// Two bf16 numbers stand in one word: the first in the lower half.
INLINE F first_bf16(U words) { return (F)(words << 16); }
INLINE F second_bf16(U words) { return (F)(words & 0xffff0000u); }

// To the nearest bf16, ties to even, in the lower halves; NaN stays NaN.
INLINE I round_to_bf16(F v) {
    const U word = (U)v, rounded = (word + 0x7fffu + (word >> 16 & 1u)) >> 16;
    const U is_number = (U)((word & 0x7fffffffu) <= 0x7f800000u);
    return (I)((rounded & is_number) | ((word >> 16 | 0x40u) & ~is_number));
}

#if defined(__AVX512F__)

INLINE F all(float s) { return (F)_mm512_set1_ps(s); }
INLINE I all_int(int32_t s) { return (I)_mm512_set1_epi32(s); }
INLINE F fma(F a, F b, F c) { return (F)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c); }
// The second one where either is not a number.
INLINE F max(F a, F b) { return (F)_mm512_max_ps((__m512)a, (__m512)b); }
INLINE F min(F a, F b) { return (F)_mm512_min_ps((__m512)a, (__m512)b); }
INLINE I to_int(F v) { return (I)_mm512_cvtps_epi32((__m512)v); }
INLINE I widen(const int8_t *p) {
    return (I)_mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)p));
}
// To each lane the products of its two 16-bit numbers are added.
INLINE I dot(I sum, I a, I b) {
#if defined(__AVX512VNNI__)
    return (I)_mm512_dpwssd_epi32((__m512i)sum, (__m512i)a, (__m512i)b);
#else
    return sum + (I)_mm512_madd_epi16((__m512i)a, (__m512i)b);
#endif
}
#if defined(__AVX512BF16__)
INLINE F dot_bf16(F sum, U a, U b) {
    return (F)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
}
#endif

#elif defined(__AVX2__)

INLINE F all(float s) { return (F)_mm256_set1_ps(s); }
INLINE I all_int(int32_t s) { return (I)_mm256_set1_epi32(s); }
INLINE F fma(F a, F b, F c) { return (F)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c); }
INLINE F max(F a, F b) { return (F)_mm256_max_ps((__m256)a, (__m256)b); }
INLINE F min(F a, F b) { return (F)_mm256_min_ps((__m256)a, (__m256)b); }
INLINE I to_int(F v) { return (I)_mm256_cvtps_epi32((__m256)v); }
INLINE I widen(const int8_t *p) {
    return (I)_mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)p));
}
INLINE I dot(I sum, I a, I b) { return sum + (I)_mm256_madd_epi16((__m256i)a, (__m256i)b); }

#else

typedef int8_t Bytes __attribute__((vector_size(2 * LANES)));
typedef int16_t Shorts __attribute__((vector_size(4 * LANES)));

INLINE F all(float s) { return F{s, s, s, s}; }
INLINE I all_int(int32_t s) { return I{s, s, s, s}; }
#if defined(__aarch64__)
INLINE F fma(F a, F b, F c) { return (F)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b); }
#else
INLINE F fma(F a, F b, F c) { return a * b + c; }
#endif
INLINE F max(F a, F b) { return (F)((a > b) ? (U)a : (U)b); }
INLINE F min(F a, F b) { return (F)((a < b) ? (U)a : (U)b); }
// To the nearest whole number, for numbers that are small enough.
INLINE I to_int(F v) {
    const F magic = all(12582912.0f);
    return (I)(v + magic) - (I)magic;
}
INLINE I widen(const int8_t *p) {
    Bytes bytes;
    memcpy(&bytes, p, sizeof bytes);
    return (I)__builtin_convertvector(bytes, Shorts);
}
INLINE I dot(I sum, I a, I b) {
    return sum + (a << 16 >> 16) * (b << 16 >> 16) + (a >> 16) * (b >> 16);
}

#endif

// sum += a * b. Said in one instruction that overwrites the sum: the compiler would choose others,
// and then move sums about or out of the registers.
INLINE void accumulate(F &sum, F a, F b) {
#if defined(NEXTWORD_EMULATED)
    sum = fma(a, b, sum);
#elif defined(__AVX512F__)
    __asm__("vfmadd231ps %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
#elif defined(__AVX2__)
    __asm__("vfmadd231ps %2, %1, %0" : "+x"(sum) : "x"(a), "x"(b));
#else
    sum = fma(a, b, sum);
#endif
}

INLINE float sum_of(F v) {
    float part[LANES], sum = 0.0f;
    memcpy(part, &v, sizeof part);
    for (int width = LANES / 2; width > 0; width /= 2) {
        for (int lane = 0; lane < width; lane++) part[lane] += part[lane + width];
    }
    return sum + part[0];
}

INLINE float max_of(F v) {
    float part[LANES];
    memcpy(part, &v, sizeof part);
    for (int width = LANES / 2; width > 0; width /= 2) {
        for (int lane = 0; lane < width; lane++) {
            part[lane] = part[lane] > part[lane + width] ? part[lane] : part[lane + width];
        }
    }
    return part[0];
}

// e^v within 2 units of the last place; NaN stays NaN, what is below the normal numbers is tiny.
// A polynomial of degree 6 on [-ln 2 / 2, ln 2 / 2] (Taylor's, the rest is below 2^-26).
INLINE F exponential(F v) {
    v = min(all(88.0f), max(all(-87.0f), v));
    const I power = to_int(v * all(1.44269504088896341f));
    const F whole = to_float(power);
    F rest = fma(whole, all(-0.693359375f), v);
    rest = fma(whole, all(2.12194440e-4f), rest);
    F sum = all(1.0f / 720.0f);
    sum = fma(sum, rest, all(1.0f / 120.0f));
    sum = fma(sum, rest, all(1.0f / 24.0f));
    sum = fma(sum, rest, all(1.0f / 6.0f));
    sum = fma(sum, rest, all(0.5f));
    sum = fma(sum, rest, all(1.0f));
    sum = fma(sum, rest, all(1.0f));
    return sum * (F)((power + 127) << 23);
}

}  // namespace NEXTWORD_ISA

#endif
