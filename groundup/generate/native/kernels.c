/* The operations of one forward on a processor, for a step of few or many tokens.
 *
 * Every number that comes out depends on its own row alone and is summed in one fixed order: the same token gets the same
 * bits whatever else is in the step, however many threads work, and whether its prompt was read in one piece or in many.
 *
 * Rows are `bf16` (wide = 0) or `float` (wide = 1). Sums are in float, or exact in integers. Vectors of 16 lanes are the
 * compiler's own, so that any processor runs this; where AVX-512 has dot products of bf16 or bytes, they are used.
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#ifdef _OPENMP
#include <omp.h>
#endif
#if defined(__AVX512BF16__) || defined(__AVX512VNNI__)
#include <immintrin.h>
#endif

#define LANES 16
#define TILE 8 /* rows that share one reading of the weights */
#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 8")

typedef float v16f __attribute__((vector_size(64), aligned(4), may_alias));
typedef int32_t v16i __attribute__((vector_size(64), aligned(4), may_alias));
typedef uint32_t v16u __attribute__((vector_size(64), aligned(4), may_alias));
typedef uint16_t v16h __attribute__((vector_size(32), aligned(2), may_alias));
typedef uint16_t bf16;

/* --- numbers ------------------------------------------------------------------------------------------------- */

INLINE float widen(bf16 x) {
    union { uint32_t u; float f; } bits = {(uint32_t)x << 16};
    return bits.f;
}

INLINE bf16 narrow(float x) { /* to the nearest, ties to even, as torch rounds */
    union { float f; uint32_t u; } bits = {x};
    if (x != x) return 0x7fc0;
    return (bf16)((bits.u + 0x7fff + ((bits.u >> 16) & 1)) >> 16);
}

INLINE float round_to(float x, int wide) { return wide ? x : widen(narrow(x)); }
INLINE float get(const void *x, long i, int wide) { return wide ? ((const float *)x)[i] : widen(((const bf16 *)x)[i]); }
INLINE void put(void *x, long i, float value, int wide) {
    if (wide) ((float *)x)[i] = value;
    else ((bf16 *)x)[i] = narrow(value);
}
INLINE v16f widen16(const bf16 *x) { return (v16f)(__builtin_convertvector(*(const v16h *)x, v16u) << 16); }
INLINE v16f get16(const void *x, long i, int wide) { return wide ? *(const v16f *)((const float *)x + i) : widen16((const bf16 *)x + i); }
INLINE v16f splat(float x) { return (v16f){} + x; }
INLINE v16f choose(v16i which, v16f yes, v16f no) { return (v16f)((which & (v16i)yes) | (~which & (v16i)no)); }
INLINE v16f larger(v16f x, v16f y) { return choose(x > y, x, y); }

INLINE v16f exp16(v16f x) { /* 2^(x log2 e): Cephes' polynomial on [-ln2/2, ln2/2], error below 2 units in the last place */
    x = larger(x, splat(-87.0f));
    x = choose(x < splat(88.0f), x, splat(88.0f));
    v16f scaled = x * 1.44269504f, magic = splat(12582912.0f); /* 1.5 * 2^23 rounds to the nearest integer */
    v16f whole = (scaled + magic) - magic;
    v16f r = x - whole * 0.693359375f + whole * 2.12194440e-4f;
    v16f p = splat(1.9875691500e-4f);
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    v16i power = (__builtin_convertvector(whole, v16i) + 127) << 23;
    return p * (v16f)power;
}

/* --- matrices ------------------------------------------------------------------------------------------------- */

enum { FLOAT, BF16, INT8, INT4 };

/* y = x W^T. The weights of 16 outputs lie side by side for each k, pair of k (BF16), four k (INT8) or eight k (INT4):
 *   FLOAT [N/16][K][16] float    BF16 [N/16][K/2][16][2] bf16
 *   INT8  [N/16][K/4][16][4] bytes of value + 128     INT4 [N/16][K/8][16][4] bytes: value + 8 of k in the low half, of k + 4 in the high
 * `scales` [N/16][K/group][16] of INT8 and INT4 turn a group's sum into the output's unit. */
typedef struct {
    long outputs, inputs;
    int kind, group;
    const void *weights;
    const float *scales;
} Matrix;

typedef struct { /* a tile of rows in the form that the matrix multiplies */
    float *wide;       /* [TILE][K] */
    uint32_t *pairs;   /* [TILE][K/2] */
    uint32_t *fours;   /* [TILE][K/4]: signed bytes */
    float *units;      /* [TILE][K/group]: value of one step of the bytes */
    int32_t *offsets;  /* [TILE][K/group]: -128 or -8 times the sum of the group's bytes */
} Rows;

INLINE v16f dot_pairs(v16f sum, const bf16 *weights, uint32_t pair) {
#ifdef __AVX512BF16__
    return (v16f)_mm512_dpbf16_ps((__m512)sum, (__m512bh)_mm512_loadu_si512(weights), (__m512bh)_mm512_set1_epi32((int)pair));
#else
    v16u both = *(const v16u *)weights;
    union { uint32_t u; float f; } first = {pair << 16}, second = {pair & 0xffff0000u};
    sum += (v16f)(both << 16) * first.f;
    return sum + (v16f)(both & 0xffff0000u) * second.f;
#endif
}

INLINE v16i dot_bytes(v16i sum, v16u weights, uint32_t four) {
#ifdef __AVX512VNNI__
    return (v16i)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)weights, _mm512_set1_epi32((int)four));
#else
    for (int j = 0; j < 4; j++) sum += (v16i)((weights >> (8 * j)) & 255) * (int32_t)(int8_t)(four >> (8 * j));
    return sum;
#endif
}

INLINE void panel_float(const Matrix *m, const Rows *x, const float *w, v16f *out, int rows) {
    v16f sum[TILE] = {};
    for (long k = 0; k < m->inputs; k++) {
        v16f weight = *(const v16f *)(w + k * LANES);
        UNROLL for (int r = 0; r < rows; r++) sum[r] += weight * x->wide[r * m->inputs + k];
    }
    UNROLL for (int r = 0; r < rows; r++) out[r] = sum[r];
}

INLINE void panel_bf16(const Matrix *m, const Rows *x, const bf16 *w, v16f *out, int rows) {
    long pairs = m->inputs / 2;
    v16f even[TILE] = {}, odd[TILE] = {}; /* two sums a row, so that one need not wait for the other */
    long k = 0;
    for (; k + 2 <= pairs; k += 2) {
        UNROLL for (int r = 0; r < rows; r++) {
            even[r] = dot_pairs(even[r], w + k * 32, x->pairs[r * pairs + k]);
            odd[r] = dot_pairs(odd[r], w + k * 32 + 32, x->pairs[r * pairs + k + 1]);
        }
    }
    for (; k < pairs; k++) UNROLL for (int r = 0; r < rows; r++) even[r] = dot_pairs(even[r], w + k * 32, x->pairs[r * pairs + k]);
    UNROLL for (int r = 0; r < rows; r++) out[r] = even[r] + odd[r];
}

INLINE void panel_bytes(const Matrix *m, const Rows *x, const uint8_t *w, const float *scales, v16f *out, int rows, int halves) {
    long fours = m->inputs / 4, groups = m->inputs / m->group, step = m->group / 4;
    v16f sum[TILE] = {};
    for (long g = 0; g < groups; g++) {
        v16i part[TILE];
        UNROLL for (int r = 0; r < rows; r++) part[r] = (v16i){} + x->offsets[r * groups + g];
        const uint32_t *four = x->fours + g * step;
        for (long k = 0; k < step; k += halves) {
            v16u weights = *(const v16u *)(w + (g * step + k) / halves * 64);
            v16u low = weights & (halves == 2 ? 0x0f0f0f0fu : 0xffffffffu);
            UNROLL for (int r = 0; r < rows; r++) part[r] = dot_bytes(part[r], low, four[r * fours + k]);
            if (halves == 2) {
                v16u high = (weights >> 4) & 0x0f0f0f0fu;
                UNROLL for (int r = 0; r < rows; r++) part[r] = dot_bytes(part[r], high, four[r * fours + k + 1]);
            }
        }
        v16f scale = *(const v16f *)(scales + g * LANES);
        UNROLL for (int r = 0; r < rows; r++) sum[r] += __builtin_convertvector(part[r], v16f) * (scale * x->units[r * groups + g]);
    }
    UNROLL for (int r = 0; r < rows; r++) out[r] = sum[r];
}

INLINE void panel(const Matrix *m, const Rows *x, long p, v16f *out, int rows) {
    switch (m->kind) {
        case FLOAT: panel_float(m, x, (const float *)m->weights + p * LANES * m->inputs, out, rows); break;
        case BF16: panel_bf16(m, x, (const bf16 *)m->weights + p * LANES * m->inputs, out, rows); break;
        case INT8: panel_bytes(m, x, (const uint8_t *)m->weights + p * LANES * m->inputs, m->scales + p * LANES * (m->inputs / m->group), out, rows, 1); break;
        default: panel_bytes(m, x, (const uint8_t *)m->weights + p * LANES * m->inputs / 2, m->scales + p * LANES * (m->inputs / m->group), out, rows, 2);
    }
}

static void panel_of(const Matrix *m, const Rows *x, long p, v16f *out, int rows) {
    switch (rows) { /* a constant number of rows keeps their sums in registers */
        case 1: panel(m, x, p, out, 1); break;
        case 2: panel(m, x, p, out, 2); break;
        case 3: panel(m, x, p, out, 3); break;
        case 4: panel(m, x, p, out, 4); break;
        case 5: panel(m, x, p, out, 5); break;
        case 6: panel(m, x, p, out, 6); break;
        case 7: panel(m, x, p, out, 7); break;
        default: panel(m, x, p, out, 8);
    }
}

INLINE void to_bytes(const Matrix *m, const void *x, long row, int wide, uint32_t *fours, float *units, int32_t *offsets) {
    int8_t *bytes = (int8_t *)fours;
    int32_t shift = m->kind == INT8 ? 128 : 8;
    for (long g = 0; g < m->inputs / m->group; g++) {
        long first = row * m->inputs + g * m->group;
        float largest = 0;
        for (long k = 0; k < m->group; k++) largest = fmaxf(largest, fabsf(get(x, first + k, wide)));
        float steps = largest > 0 ? 127.0f / largest : 0;
        int32_t sum = 0;
        for (long k = 0; k < m->group; k++) {
            int32_t q = (int32_t)lrintf(get(x, first + k, wide) * steps);
            bytes[g * m->group + k] = (int8_t)q;
            sum += q;
        }
        units[g] = largest / 127.0f;
        offsets[g] = -shift * sum;
    }
}

/* One row in the matrix's form. */
static void prepare(const Matrix *m, const void *x, long row, int wide, const Rows *to, long at) {
    long K = m->inputs, groups = m->group ? K / m->group : 0;
    switch (m->kind) {
        case FLOAT:
            for (long k = 0; k < K; k++) to->wide[at * K + k] = get(x, row * K + k, wide);
            break;
        case BF16:
            for (long k = 0; k < K / 2; k++) {
                uint32_t low = narrow(get(x, row * K + 2 * k, wide)), high = narrow(get(x, row * K + 2 * k + 1, wide));
                to->pairs[at * (K / 2) + k] = low | high << 16;
            }
            break;
        default:
            to_bytes(m, x, row, wide, to->fours + at * (K / 4), to->units + at * groups, to->offsets + at * groups);
    }
}

/* y [rows, N] = x [rows, K] W^T; `space` holds rows * K * 4 + rows * K / group * 8 bytes. */
void linear(const Matrix *m, const void *x, void *y, long rows, int wide, int threads, void *space) {
    long K = m->inputs, N = m->outputs, panels = (N + LANES - 1) / LANES, groups = m->group ? K / m->group : 0;
    uint32_t *content = space;
    float *units = (float *)(content + rows * K);
    int32_t *offsets = (int32_t *)(units + rows * groups);
    Rows all = {(float *)content, content, content, units, offsets};
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
#pragma omp for schedule(static)
        for (long r = 0; r < rows; r++) prepare(m, x, r, wide, &all, r);
#pragma omp for schedule(static)
        for (long p = 0; p < panels; p++) {
            long width = N - p * LANES < LANES ? N - p * LANES : LANES;
            for (long r = 0; r < rows; r += TILE) {
                int count = rows - r < TILE ? (int)(rows - r) : TILE;
                Rows tile = {all.wide + r * K, all.pairs + r * (K / 2), all.fours + r * (K / 4), units + r * groups, offsets + r * groups};
                v16f out[TILE];
                panel_of(m, &tile, p, out, count);
                for (int i = 0; i < count; i++)
                    for (long j = 0; j < width; j++) put(y, (r + i) * N + p * LANES + j, out[i][j], wide);
            }
        }
    }
}

/* --- row by row ------------------------------------------------------------------------------------------------ */

/* y = x / rms(x) * weight for rows of D. */
void norm(const void *x, const float *weight, void *y, long rows, long D, float epsilon, int wide) {
    for (long r = 0; r < rows; r++) {
        float part[LANES] = {0}, sum = 0;
        for (long d = 0; d < D; d++) {
            float value = get(x, r * D + d, wide);
            part[d % LANES] += value * value;
        }
        for (int j = 0; j < LANES; j++) sum += part[j];
        float scale = 1.0f / sqrtf(sum / (float)D + epsilon);
        for (long d = 0; d < D; d++) put(y, r * D + d, weight[d] * round_to(get(x, r * D + d, wide) * scale, wide), wide);
    }
}

/* Turns each pair (e, e + E/2) of `heads` heads a row, in place, by cosines and sines [rows, E]. */
void rotate(void *x, const float *cosines, const float *sines, long rows, long heads, long E, int wide) {
    for (long r = 0; r < rows; r++)
        for (long h = 0; h < heads; h++) {
            long at = (r * heads + h) * E;
            for (long e = 0; e < E / 2; e++) {
                float first = get(x, at + e, wide), second = get(x, at + e + E / 2, wide);
                put(x, at + e, first * cosines[r * E + e] - second * sines[r * E + e], wide);
                put(x, at + e + E / 2, second * cosines[r * E + e + E / 2] + first * sines[r * E + e + E / 2], wide);
            }
        }
}

/* y = silu(gate) * up, over n numbers. */
void gate(const void *gated, const void *up, void *y, long n, int wide) {
    long i = 0;
    for (; i + LANES <= n; i += LANES) {
        v16f x = get16(gated, i, wide), s = x / (1.0f + exp16(-x)), u = get16(up, i, wide);
        for (int j = 0; j < LANES; j++) put(y, i + j, round_to(s[j], wide) * u[j], wide);
    }
    for (; i < n; i++) {
        float x = get(gated, i, wide);
        put(y, i, round_to(x / (1.0f + exp16(splat(-x))[0]), wide) * get(up, i, wide), wide);
    }
}

/* --- attention over pages ---------------------------------------------------------------------------------------- */

/* A page holds 16 tokens: keys [page][K][E][16], so that one vector is one feature of 16 tokens, and values [page][K][16][E]. */

/* Puts the keys and values [rows, K, E] of new tokens into their slots, page * 16 + place. */
void store(const void *k, const void *v, void *keys, void *values, const int64_t *slots, long rows, long K, long E, int wide) {
    long size = wide ? 4 : 2;
    for (long r = 0; r < rows; r++)
        for (long h = 0; h < K; h++) {
            long page = slots[r] / LANES, place = slots[r] % LANES, from = (r * K + h) * E, to = (page * K + h) * E * LANES;
            memcpy((char *)values + (to + place * E) * size, (const char *)v + from * size, (size_t)(E * size));
            for (long e = 0; e < E; e++) memcpy((char *)keys + (to + e * LANES + place) * size, (const char *)k + (from + e) * size, (size_t)size);
        }
}

typedef struct {
    const void *q, *keys, *values;
    void *o;
    const int32_t *tables;   /* [sequences, width]: the pages of each sequence, in order */
    const int32_t *sequence; /* [rows] */
    const int32_t *seen;     /* [rows]: how many positions of its sequence a token looks at */
    long width, H, K, E;
    int wide;
} Attention;

/* Queries of `tokens` neighbours of one sequence that share a key head; n = tokens * H / K of them. */
INLINE void attend_tile(const Attention *a, long row, long head, int tokens, float *space, int n) {
    long group = a->H / a->K, E = a->E, most = a->seen[row + tokens - 1], pages = (most + LANES - 1) / LANES;
    const int32_t *table = a->tables + a->sequence[row] * a->width;
    float *queries = space, *scores = space + n * E; /* [n][E], then [n][pages * 16] */
    float scale = 1.0f / sqrtf((float)E), total[TILE];
    for (int i = 0; i < n; i++)
        for (long e = 0; e < E; e++) queries[i * E + e] = get(a->q, ((row + i / group) * a->H + head * group + i % group) * E + e, a->wide);
    v16i lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    v16f best[TILE];
    UNROLL for (int i = 0; i < n; i++) best[i] = splat(-INFINITY);
    for (long p = 0; p < pages; p++) {
        long at = (table[p] * a->K + head) * E * LANES;
        v16f sum[TILE] = {};
        for (long e = 0; e < E; e++) {
            v16f key = get16(a->keys, at + e * LANES, a->wide);
            UNROLL for (int i = 0; i < n; i++) sum[i] += key * queries[i * E + e];
        }
        UNROLL for (int i = 0; i < n; i++) {
            v16f score = choose(lane + (int32_t)(p * LANES) < a->seen[row + i / group], sum[i] * scale, splat(-INFINITY));
            best[i] = larger(score, best[i]);
            *(v16f *)(scores + (i * pages + p) * LANES) = score;
        }
    }
    for (int i = 0; i < n; i++) {
        float highest = -INFINITY;
        for (int j = 0; j < LANES; j++) highest = fmaxf(highest, best[i][j]);
        v16f sum = {};
        for (long p = 0; p < pages; p++) {
            v16f *score = (v16f *)(scores + (i * pages + p) * LANES);
            *score = choose(*score > splat(-INFINITY), exp16(*score - highest), splat(0));
            sum += *score;
        }
        total[i] = 0;
        for (int j = 0; j < LANES; j++) total[i] += sum[j];
    }
    for (long c = 0; c < E; c += LANES) {
        v16f sum[TILE] = {};
        for (long p = 0; p < pages; p++) {
            long at = (table[p] * a->K + head) * E * LANES + c;
            for (int j = 0; j < LANES; j++) {
                v16f value = get16(a->values, at + j * E, a->wide);
                UNROLL for (int i = 0; i < n; i++) sum[i] += value * scores[(i * pages + p) * LANES + j];
            }
        }
        for (int i = 0; i < n; i++)
            for (int j = 0; j < LANES; j++)
                put(a->o, ((row + i / group) * a->H + head * group + i % group) * E + c + j, sum[i][j] / total[i], a->wide);
    }
}

static void attend_tokens(const Attention *a, long row, long head, int tokens, float *space) {
    switch (tokens * (a->H / a->K)) {
        case 1: attend_tile(a, row, head, tokens, space, 1); break;
        case 2: attend_tile(a, row, head, tokens, space, 2); break;
        case 3: attend_tile(a, row, head, tokens, space, 3); break;
        case 4: attend_tile(a, row, head, tokens, space, 4); break;
        case 5: attend_tile(a, row, head, tokens, space, 5); break;
        case 6: attend_tile(a, row, head, tokens, space, 6); break;
        case 7: attend_tile(a, row, head, tokens, space, 7); break;
        default: attend_tile(a, row, head, tokens, space, 8);
    }
}

/* o [rows, H, E] for queries [rows, H, E]; neighbours of one sequence are worked on together. H / K is at most 8.
 * `space`: for each thread 8 * (E + the longest `seen` in whole pages) floats. */
void attend(const Attention *a, long rows, int threads, float *space, long space_each) {
    int most = (int)(TILE / (a->H / a->K));
    long *tiles = malloc((size_t)rows * 2 * sizeof(long)), count = 0;
    for (long r = 0; r < rows; count++) {
        long end = r + 1;
        while (end < rows && end - r < most && a->sequence[end] == a->sequence[r]) end++;
        tiles[2 * count] = r, tiles[2 * count + 1] = end - r;
        r = end;
    }
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
#ifdef _OPENMP
        float *own = space + omp_get_thread_num() * space_each;
#else
        float *own = space;
#endif
#pragma omp for schedule(dynamic, 1)
        for (long task = 0; task < count * a->K; task++) {
            long t = task / a->K;
            attend_tokens(a, tiles[2 * t], task % a->K, (int)tiles[2 * t + 1], own);
        }
    }
    free(tiles);
}
