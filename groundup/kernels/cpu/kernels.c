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
#include <string.h>
#ifdef _OPENMP
#include <omp.h>
#endif
#if defined(__AVX512BF16__) || defined(__AVX512VNNI__)
#include <immintrin.h>
#endif

#define LANES 16
#define TILE 16 /* rows that share one reading of the weights */
#define QUERIES 8 /* of one key head that share one reading of the keys */
#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")
#define SHARE _Pragma("omp for schedule(static)") /* among the threads that run the call */
#define TAKE_TURNS _Pragma("omp for schedule(dynamic, 1)")

typedef float v16f __attribute__((vector_size(64), aligned(4), may_alias));
typedef int32_t v16i __attribute__((vector_size(64), aligned(4), may_alias));
typedef uint32_t v16u __attribute__((vector_size(64), aligned(4), may_alias));
typedef uint16_t v16h __attribute__((vector_size(32), aligned(2), may_alias));
typedef int8_t v16b __attribute__((vector_size(16), aligned(1), may_alias));
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

INLINE float get(const void *x, long i, int wide) { return wide ? ((const float *)x)[i] : widen(((const bf16 *)x)[i]); }
INLINE void put(void *x, long i, float value, int wide) {
    if (wide) ((float *)x)[i] = value;
    else ((bf16 *)x)[i] = narrow(value);
}
INLINE v16f widen16(const bf16 *x) { return (v16f)(__builtin_convertvector(*(const v16h *)x, v16u) << 16); }
INLINE v16f get16(const void *x, long i, int wide) { return wide ? *(const v16f *)((const float *)x + i) : widen16((const bf16 *)x + i); }
INLINE void put16(void *x, long i, v16f value, int wide) {
    if (wide) {
        *(v16f *)((float *)x + i) = value;
    } else {
        v16u bits = (v16u)value, rounded = bits + 0x7fff + ((bits >> 16) & 1);
        v16u number = (v16u)(value == value);
        *(v16h *)((bf16 *)x + i) = __builtin_convertvector(((rounded & number) | (~number & 0x7fc00000u)) >> 16, v16h);
    }
}
INLINE v16f round16(v16f x, int wide) {
    bf16 kept[LANES];
    if (wide) return x;
    put16(kept, 0, x, 0);
    return widen16(kept);
}
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
    v16f sum[TILE] = {};
    for (long k = 0; k < pairs; k++) {
        __builtin_prefetch(w + (k + pairs) * 32);
        UNROLL for (int r = 0; r < rows; r++) sum[r] = dot_pairs(sum[r], w + k * 32, x->pairs[r * pairs + k]);
    }
    UNROLL for (int r = 0; r < rows; r++) out[r] = sum[r];
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
        case 8: panel(m, x, p, out, 8); break;
        case 9: panel(m, x, p, out, 9); break;
        case 10: panel(m, x, p, out, 10); break;
        case 11: panel(m, x, p, out, 11); break;
        case 12: panel(m, x, p, out, 12); break;
        case 13: panel(m, x, p, out, 13); break;
        case 14: panel(m, x, p, out, 14); break;
        case 15: panel(m, x, p, out, 15); break;
        default: panel(m, x, p, out, 16);
    }
}

INLINE v16f absolute(v16f x) { return (v16f)((v16u)x & 0x7fffffffu); }

INLINE void to_bytes(const Matrix *m, const void *x, long row, int wide, uint32_t *fours, float *units, int32_t *offsets) {
    int8_t *bytes = (int8_t *)fours;
    int32_t shift = m->kind == INT8 ? 128 : 8;
    v16f magic = splat(12582912.0f); /* 1.5 * 2^23 rounds to the nearest integer */
    for (long g = 0; g < m->inputs / m->group; g++) {
        long first = row * m->inputs + g * m->group;
        v16f most = {};
        for (long k = 0; k < m->group; k += LANES) most = larger(absolute(get16(x, first + k, wide)), most);
        float largest = 0;
        for (int j = 0; j < LANES; j++) largest = fmaxf(largest, most[j]);
        float steps = largest > 0 ? 127.0f / largest : 0;
        v16i sum = {};
        for (long k = 0; k < m->group; k += LANES) {
            v16i q = __builtin_convertvector(get16(x, first + k, wide) * steps + magic - magic, v16i);
            *(v16b *)(bytes + g * m->group + k) = __builtin_convertvector(q, v16b);
            sum += q;
        }
        int32_t whole = 0;
        for (int j = 0; j < LANES; j++) whole += sum[j];
        units[g] = largest / 127.0f;
        offsets[g] = -shift * whole;
    }
}

/* One row in the matrix's form; a row that has it already is left where it is. */
static void prepare(const Matrix *m, const void *x, long row, int wide, const Rows *to) {
    long K = m->inputs, groups = m->group ? K / m->group : 0;
    switch (m->kind) {
        case FLOAT:
            for (long k = 0; k < K; k++) to->wide[row * K + k] = get(x, row * K + k, wide);
            break;
        case BF16:
            for (long k = 0; k < K / 2; k++) {
                uint32_t low = narrow(get(x, row * K + 2 * k, wide)), high = narrow(get(x, row * K + 2 * k + 1, wide));
                to->pairs[row * (K / 2) + k] = low | high << 16;
            }
            break;
        default:
            to_bytes(m, x, row, wide, to->fours + row * (K / 4), to->units + row * groups, to->offsets + row * groups);
    }
}

/* y [rows, N] = x [rows, K] W^T + bias (or none); `space` holds rows * K * 4 + rows * K / group * 8 bytes. */
static void linear(const Matrix *m, const void *x, void *y, void *space, const float *bias, long rows, int wide) {
    long K = m->inputs, N = m->outputs, panels = (N + LANES - 1) / LANES, groups = m->group ? K / m->group : 0;
    long most = m->kind < INT8 ? TILE : TILE / 2; /* the integers of a group and the sum of all groups take two registers a row */
    int ready = (m->kind == FLOAT && wide) || (m->kind == BF16 && !wide);
    uint32_t *content = ready ? (uint32_t *)x : space;
    float *units = (float *)(content + rows * K);
    int32_t *offsets = (int32_t *)(units + rows * groups);
    Rows all = {(float *)content, content, content, units, offsets};
    if (!ready) {
        SHARE for (long r = 0; r < rows; r++) prepare(m, x, r, wide, &all);
    }
    SHARE for (long p = 0; p < panels; p++) {
        long width = N - p * LANES < LANES ? N - p * LANES : LANES;
        for (long r = 0; r < rows; r += most) {
            int count = (int)(rows - r < most ? rows - r : most);
            Rows tile = {all.wide + r * K, all.pairs + r * (K / 2), all.fours + r * (K / 4), units + r * groups, offsets + r * groups};
            v16f out[TILE];
            panel_of(m, &tile, p, out, count);
            for (int i = 0; i < count; i++) {
                if (bias) for (long j = 0; j < width; j++) out[i][j] += bias[p * LANES + j];
                if (width == LANES) put16(y, (r + i) * N + p * LANES, out[i], wide);
                else for (long j = 0; j < width; j++) put(y, (r + i) * N + p * LANES + j, out[i][j], wide);
            }
        }
    }
}

/* --- row by row: all widths are multiples of 16 ------------------------------------------------------------------- */

/* y = the rows of a table [ids, D]. */
static void embed(const int64_t *ids, const void *rows_of, void *y, long rows, long D, int wide) {
    size_t size = (size_t)D * (wide ? 4 : 2);
    SHARE for (long r = 0; r < rows; r++) memcpy((char *)y + (size_t)r * size, (const char *)rows_of + (size_t)ids[r] * size, size);
}

/* The rows of two tables [positions, E] of float. */
static void angles(const int64_t *positions, const float *cosines, const float *sines, float *cosine, float *sine, long rows, long E) {
    SHARE for (long r = 0; r < rows; r++) {
        memcpy(cosine + r * E, cosines + positions[r] * E, (size_t)E * sizeof(float));
        memcpy(sine + r * E, sines + positions[r] * E, (size_t)E * sizeof(float));
    }
}

/* y = x / rms(x) * weight for rows of D. */
static void norm(const void *x, const float *weight, void *y, long rows, long D, float epsilon, int wide) {
    SHARE for (long r = 0; r < rows; r++) {
        v16f squares = {};
        float sum = 0;
        for (long d = 0; d < D; d += LANES) {
            v16f value = get16(x, r * D + d, wide);
            squares += value * value;
        }
        for (int j = 0; j < LANES; j++) sum += squares[j];
        float scale = 1.0f / sqrtf(sum / (float)D + epsilon);
        for (long d = 0; d < D; d += LANES) {
            v16f value = round16(get16(x, r * D + d, wide) * scale, wide);
            put16(y, r * D + d, *(const v16f *)(weight + d) * value, wide);
        }
    }
}

/* y = x with each pair (e, e + E/2) of `heads` heads a row turned by cosines and sines [rows, E]. */
static void rotate(const void *x, const float *cosines, const float *sines, void *y, long rows, long heads, long E, int wide) {
    SHARE for (long r = 0; r < rows; r++) {
        const float *c = cosines + r * E, *s = sines + r * E;
        for (long at = r * heads * E; at < (r + 1) * heads * E; at += E) {
            long e = 0;
            for (; e + LANES <= E / 2; e += LANES) {
                v16f first = get16(x, at + e, wide), second = get16(x, at + e + E / 2, wide);
                put16(y, at + e, first * *(const v16f *)(c + e) - second * *(const v16f *)(s + e), wide);
                put16(y, at + e + E / 2, second * *(const v16f *)(c + e + E / 2) + first * *(const v16f *)(s + e + E / 2), wide);
            }
            for (; e < E / 2; e++) {
                float first = get(x, at + e, wide), second = get(x, at + e + E / 2, wide);
                put(y, at + e, first * c[e] - second * s[e], wide);
                put(y, at + e + E / 2, second * c[e + E / 2] + first * s[e + E / 2], wide);
            }
        }
    }
}

/* y = silu(gated) * up, or gelu by tanh, over n numbers. (1 + tanh(z)) / 2 = 1 / (1 + exp(-2 z)); 1.59576912 = 2 sqrt(2 / pi). */
static void gate(const void *gated, const void *up, void *y, long n, int gelu, int wide) {
    SHARE for (long i = 0; i < n; i += LANES) {
        v16f x = get16(gated, i, wide), z = x;
        if (gelu) z = 1.59576912f * (x + 0.044715f * x * x * x);
        put16(y, i, round16(x / (1.0f + exp16(-z)), wide) * get16(up, i, wide), wide);
    }
}

/* y = a + b, over n numbers. */
static void add(const void *a, const void *b, void *y, long n, int wide) {
    SHARE for (long i = 0; i < n; i += LANES) put16(y, i, get16(a, i, wide) + get16(b, i, wide), wide);
}

/* The place of the largest of the first `width` of N numbers in each row; the first of equals. */
static void best(const void *x, int64_t *y, long rows, long N, long width, int wide) {
    SHARE for (long r = 0; r < rows; r++) {
        v16f most = splat(-INFINITY);
        float highest = -INFINITY;
        long i = 0;
        for (; i + LANES <= width; i += LANES) most = larger(get16(x, r * N + i, wide), most);
        for (int j = 0; j < LANES; j++) highest = fmaxf(highest, most[j]);
        for (; i < width; i++) highest = fmaxf(highest, get(x, r * N + i, wide));
        for (i = 0; i < width - 1 && get(x, r * N + i, wide) != highest; i++) continue;
        y[r] = i;
    }
}

/* --- paged attention, over blocks of the KV cache -------------------------------------------------------------- */

/* A block holds 16 tokens: keys [block][K][E][16], so that one vector is one feature of 16 tokens, and values [block][K][16][E]. */

/* Puts the keys and values [rows, K, E] of new tokens into their slots, block * 16 + place. */
static void store(const void *k, const void *v, void *keys, void *values, const int64_t *slots, long rows, long K, long E, int wide) {
    long size = wide ? 4 : 2;
    SHARE for (long r = 0; r < rows; r++)
        for (long h = 0; h < K; h++) {
            long block = slots[r] / LANES, place = slots[r] % LANES, from = (r * K + h) * E, to = (block * K + h) * E * LANES;
            memcpy((char *)values + (to + place * E) * size, (const char *)v + from * size, (size_t)(E * size));
            for (long e = 0; e < E; e++) memcpy((char *)keys + (to + e * LANES + place) * size, (const char *)k + (from + e) * size, (size_t)size);
        }
}

typedef struct {
    const int32_t *blocks;    /* [sequences, width]: the blocks of each sequence, in order */
    const int32_t *sequence; /* [rows] */
    const int32_t *attended;     /* [rows]: how many positions of its sequence a token attends to */
    const int64_t *positions; /* [rows] */
    const int32_t *tiles;    /* [count, 2]: first row and number of neighbours of one sequence that are worked on together */
    long count, width, H, K, E, space; /* `space` floats for each thread: 8 * (E + the longest sequence in whole blocks) */
} Table;

typedef struct {
    const Table *table;
    const void *q, *keys, *values;
    void *o;
    long window; /* a token attends to this many positions before the next one; 0: to all */
    int wide;
} Attention;

/* One block of keys against n queries [n][E]: the scores of 16 tokens each. Two sums, so that one need not wait for the other. */
INLINE void score_block(const void *keys, long at, const float *queries, long E, v16f *score, int n, int wide) {
    v16f even[QUERIES] = {}, odd[QUERIES] = {};
    for (long e = 0; e < E; e += 2) {
        v16f key = get16(keys, at + e * LANES, wide), next = get16(keys, at + (e + 1) * LANES, wide);
        UNROLL for (int i = 0; i < n; i++) {
            even[i] += key * queries[i * E + e];
            odd[i] += next * queries[i * E + e + 1];
        }
    }
    UNROLL for (int i = 0; i < n; i++) score[i] = even[i] + odd[i];
}

/* softmax of n rows of scores, in place but for the division; the sums. */
INLINE void weigh(float *scores, long first, long blocks, const v16f *best, float *total, int n) {
    for (int i = 0; i < n; i++) {
        v16f sum = {};
        float highest = -INFINITY;
        for (int j = 0; j < LANES; j++) highest = fmaxf(highest, best[i][j]);
        for (long p = first; p < blocks; p++) {
            v16f *score = (v16f *)(scores + (i * blocks + p) * LANES);
            *score = choose(*score > splat(-INFINITY), exp16(*score - highest), splat(0));
            sum += *score;
        }
        total[i] = 0;
        for (int j = 0; j < LANES; j++) total[i] += sum[j];
    }
}

/* 16 or, with `both`, 32 features of the values of the blocks from `first`, weighed for n queries. */
INLINE void gather(const void *values, const int32_t *table, long first, long blocks, long stride, long offset, long E, const float *scores, v16f *low, v16f *high, int n, int both, int wide) {
    UNROLL for (int i = 0; i < n; i++) low[i] = high[i] = splat(0);
    for (long p = first; p < blocks; p++) {
        long at = table[p] * stride + offset;
        for (int j = 0; j < LANES; j++) {
            v16f value = get16(values, at + j * E, wide), next = both ? get16(values, at + j * E + LANES, wide) : splat(0);
            UNROLL for (int i = 0; i < n; i++) {
                float weight = scores[(i * blocks + p) * LANES + j];
                low[i] += value * weight;
                if (both) high[i] += next * weight;
            }
        }
    }
}

/* Queries of `tokens` neighbours of one sequence that share a key head; n = tokens * H / K of them. */
INLINE void attend_tile(const Attention *a, long row, long head, int tokens, float *space, int n) {
    const Table *t = a->table;
    long H = t->H, K = t->K, E = t->E, group = H / K, most = t->attended[row + tokens - 1], blocks = (most + LANES - 1) / LANES;
    long before = a->window ? t->positions[row] - a->window + 1 : 0, first = before > 0 ? before / LANES : 0; /* block of the first key */
    const int32_t *table = t->blocks + t->sequence[row] * t->width;
    float *queries = space, *scores = space + n * E; /* [n][E], then [n][blocks * 16] */
    float scale = 1.0f / sqrtf((float)E), total[QUERIES];
    long place[QUERIES];
    for (int i = 0; i < n; i++) {
        place[i] = ((row + i / group) * H + head * group + i % group) * E;
        for (long e = 0; e < E; e += LANES) *(v16f *)(queries + i * E + e) = get16(a->q, place[i] + e, a->wide) * scale;
    }
    v16i lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    v16f best[QUERIES], score[QUERIES];
    UNROLL for (int i = 0; i < n; i++) best[i] = splat(-INFINITY);
    for (long p = first; p < blocks; p++) {
        score_block(a->keys, (table[p] * K + head) * E * LANES, queries, E, score, n, a->wide);
        UNROLL for (int i = 0; i < n; i++) {
            score[i] = choose(lane + (int32_t)(p * LANES) < t->attended[row + i / group], score[i], splat(-INFINITY));
            if (a->window) score[i] = choose(lane + (int32_t)(p * LANES) > (int32_t)(t->positions[row + i / group] - a->window), score[i], splat(-INFINITY));
            best[i] = larger(score[i], best[i]);
            *(v16f *)(scores + (i * blocks + p) * LANES) = score[i];
        }
    }
    weigh(scores, first, blocks, best, total, n);
    for (long c = 0; c < E; c += 2 * LANES) {
        v16f low[QUERIES], high[QUERIES];
        int both = c + LANES < E;
        gather(a->values, table, first, blocks, K * E * LANES, head * E * LANES + c, E, scores, low, high, n, both, a->wide);
        for (int i = 0; i < n; i++) {
            put16(a->o, place[i] + c, low[i] / total[i], a->wide);
            if (both) put16(a->o, place[i] + c + LANES, high[i] / total[i], a->wide);
        }
    }
}

static void attend_tokens(const Attention *a, long row, long head, int tokens, float *space) {
    switch (tokens * (a->table->H / a->table->K)) {
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

/* o [rows, H, E] for queries [rows, H, E]. H / K is at most 8. */
static void attend(const Attention *a, float *space) {
    const Table *t = a->table;
#ifdef _OPENMP
    space += omp_get_thread_num() * t->space;
#endif
    TAKE_TURNS for (long task = 0; task < t->count * t->K; task++) {
        const int32_t *tile = t->tiles + 2 * (task / t->K);
        attend_tokens(a, tile[0], task % t->K, tile[1], space);
    }
}

/* --- calls -------------------------------------------------------------------------------------------------------- */

enum { LINEAR, EMBED, ANGLES, NORM, ROTATE, GATE, ADD, BEST, STORE, ATTEND };

/* One operation with its operands: addresses in the order of the function's own, then up to three sizes, the first for one token. */
typedef struct {
    long kind;
    void *at[5];
    long size[3];
    float epsilon;
    int wide;
} Call;

static void carry_out(const Call *c, long tokens) {
    void *const *p = c->at;
    const long *n = c->size, count = tokens * c->size[0];
    switch (c->kind) {
        case LINEAR: linear(p[0], p[1], p[2], p[3], p[4], count, c->wide); break;
        case EMBED: embed(p[0], p[1], p[2], count, n[1], c->wide); break;
        case ANGLES: angles(p[0], p[1], p[2], p[3], p[4], count, n[1]); break;
        case NORM: norm(p[0], p[1], p[2], count, n[1], c->epsilon, c->wide); break;
        case ROTATE: rotate(p[0], p[1], p[2], p[3], count, n[1], n[2], c->wide); break;
        case GATE: gate(p[0], p[1], p[2], count, (int)n[1], c->wide); break;
        case ADD: add(p[0], p[1], p[2], count, c->wide); break;
        case BEST: best(p[0], p[1], count, n[1], n[2], c->wide); break;
        case STORE: store(p[0], p[1], p[2], p[3], p[4], count, n[1], n[2], c->wide); break;
        default: attend(p[0], p[1]);
    }
}

/* Calls for so many tokens, one after the other, each by all threads. */
void run(const Call *calls, long count, long tokens, int threads) {
#pragma omp parallel num_threads(threads) if (threads > 1)
    for (long i = 0; i < count; i++) carry_out(calls + i, tokens);
}
