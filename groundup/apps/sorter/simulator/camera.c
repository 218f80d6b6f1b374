/* What rays.py and exposure.py do: the same sums in the same order, hence, with -ffp-contract=off, the same bits. */
#include <math.h>
#include <stdint.h>
#include <string.h>

#define TEXELS 64
#define LARGER(a, b) ((a) >= (b) || (a) != (a) ? (a) : (b)) /* as numpy does: what is not a number stays */
#define SMALLER(a, b) ((a) <= (b) || (a) != (a) ? (a) : (b))
#define DOT(a, b) ((a)[0] * (b)[0] + (a)[1] * (b)[1] + (a)[2] * (b)[2])

/* --- rays ---------------------------------------------------------------------------------------------------- */

typedef struct {
    int64_t side, margin, primitives;
    const float *x, *y;
    const int64_t *first, *last, *owner;
    const float *inward, *origin, *turn, *size, *form, *paint, *patterns, *light;
} Scene;

typedef struct {
    float *depth;     /* frame, infinite at first */
    int32_t *nearest; /* frame: the primitive that a ray ends on */
    int32_t *covered; /* frame, 0 at first: the last item, from 1, that a ray meets */
    int64_t *pixel, *owner;
    float *colour, *opacity;
    int64_t *whole; /* items, 0 at first */
} Traced;

/* Every ray through the surroundings of primitive n. */
static void meet(const Scene *s, Traced *out, int64_t n) {
    const float *m = s->inward + 9 * n, *o = s->origin + 3 * n, *f = s->form + 3 * n;
    const float fo[3] = {f[0] * o[0], f[1] * o[1], f[2] * o[2]};
    const float c = DOT(fo, o) - 1;
    const int64_t wide = s->side + 2 * s->margin, first = s->first[2 * n], last = s->last[2 * n];
    const int32_t item = (int32_t)s->owner[n] + 1;
    int32_t more = 0;
    for (int64_t row = s->first[2 * n + 1]; row < s->last[2 * n + 1]; row++) {
        const float y = s->y[row];
        float *depth = out->depth + row * wide;
        int32_t *nearest = out->nearest + row * wide, *covered = out->covered + row * wide;
        for (int64_t column = first; column < last; column++) {
            const float x = s->x[column];
            const float r[3] = {m[0] * x + m[1] * y - m[2], m[3] * x + m[4] * y - m[5], m[6] * x + m[7] * y - m[8]};
            const float fr[3] = {f[0] * r[0], f[1] * r[1], f[2] * r[2]};
            const float a = DOT(fr, r), b = DOT(fr, o), root = sqrtf(b * b - a * c);
            float near = a > 0 ? (-b - root) / a : -INFINITY, far = a > 0 ? (-b + root) / a : INFINITY;
            for (int axis = 0; axis < 3; axis++) {
                const float inverse = 1 / r[axis], middle = -o[axis] * inverse, thick = fabsf(inverse);
                const float enter = f[axis] == 0 ? middle - thick : -INFINITY, leave = f[axis] == 0 ? middle + thick : INFINITY;
                near = LARGER(near, enter);
                far = SMALLER(far, leave);
            }
            const int hit = near < far, ends = hit & (near <= depth[column]);
            depth[column] = ends ? near : depth[column];
            nearest[column] = ends ? (int32_t)n : nearest[column];
            more += hit & (covered[column] != item);
            covered[column] = hit ? item : covered[column];
        }
    }
    out->whole[item - 1] += more;
}

static int widest(const float *a) { /* the first of the largest */
    int axis = a[1] > a[0];
    return a[2] > a[axis] ? 2 : axis;
}

static void unit(float *a) {
    const float length = sqrtf(DOT(a, a));
    for (int k = 0; k < 3; k++) a[k] = a[k] / length;
}

static void outward(const float *point, const float *form, const float *size, float *normal) {
    float planes[3], round[3];
    for (int k = 0; k < 3; k++) {
        planes[k] = fabsf(point[k]) * (1 - form[k]);
        round[k] = form[k] * point[k];
        normal[k] = point[k] * form[k];
    }
    const int axis = widest(planes);
    if (planes[axis] > sqrtf(DOT(round, point))) {
        normal[0] = normal[1] = normal[2] = 0;
        normal[axis] = (float)((point[axis] > 0) - (point[axis] < 0));
    }
    for (int k = 0; k < 3; k++) normal[k] = normal[k] / size[k];
    unit(normal);
}

static int64_t texel(float place, float repeats) {
    return (int64_t)((place + 1) * (TEXELS / 2) * repeats) & (TEXELS - 1);
}

/* Colour and opacity at a point, in unit size, of primitive n. */
static float shade(const Scene *s, int64_t n, const float *point, float *colour) {
    static const float dirt[3] = {0.2f, 0.15f, 0.1f};
    const float *form = s->form + 3 * n, *turn = s->turn + 9 * n, *paint = s->paint + 12 * n;
    const float *lamp = s->light, *half = s->light + 3, *tint = s->light + 6, *patterns = s->patterns;
    float normal[3], turned[3], size[3];
    outward(point, form, s->size + 3 * n, normal);
    for (int k = 0; k < 3; k++) turned[k] = DOT(turn + 3 * k, normal), size[k] = fabsf(normal[k]);
    const int axis = widest(size);
    float across = axis == 0 ? point[1] : point[0], along = axis == 2 ? point[1] : point[2];
    if (form[0] < form[2] && axis > 0) { /* patterns of a lying cylinder run along it */
        const float swapped = along + (axis == 1);
        along = across;
        across = swapped;
    }
    const int64_t down = texel(along, paint[7]), right = texel(across, paint[7]);
    const float mask = patterns[((int64_t)paint[6] * TEXELS + down) * TEXELS + right];
    const float grain = patterns[(8 * TEXELS + down) * TEXELS + right], other = patterns[(8 * TEXELS + right) * TEXELS + (down + 23) % TEXELS];
    float dirty = (paint[11] * 1.3f - 1 + other) * 6;
    dirty = (dirty < 0 ? 0 : dirty > 1 ? 1 : dirty) * 0.8f;
    const float stray = 1.6f * paint[10]; /* crumpled: level only */
    float bent[3] = {turned[0] + (grain - 0.5f) * stray, turned[1] + (other - 0.5f) * stray, turned[2]};
    unit(bent);
    const float facing = DOT(bent, lamp), lit = 0.35f + 0.75f * (facing > 0 ? facing : 0);
    float power = DOT(bent, half);
    power = power > 0 ? power : 0;
    for (int k = 0; k < 3; k++) power = power * power;
    const float shine = paint[8] * (power * power * power * power * power) * 0.6f; /* to the fortieth */
    for (int k = 0; k < 3; k++) {
        float own = paint[k] + mask * (paint[3 + k] - paint[k]);
        own = own + dirty * (dirt[k] - own);
        colour[k] = (own * lit + shine) * tint[k];
    }
    const float opacity = paint[9] + (1 - paint[9]) * (1.2f - 1.2f * fabsf(turned[2])) + shine + dirty; /* thicker to its edges */
    return opacity < 1 ? opacity : 1;
}

/* Returns the number of pixels that show an item. */
int64_t trace(const Scene *s, Traced *out) {
    const int64_t wide = s->side + 2 * s->margin;
    int64_t count = 0;
    for (int64_t n = 0; n < s->primitives; n++) meet(s, out, n);
    for (int64_t row = 0; row < s->side; row++) {
        for (int64_t column = 0; column < s->side; column++) {
            const int64_t at = (row + s->margin) * wide + column + s->margin;
            const float depth = out->depth[at], x = s->x[column + s->margin], y = s->y[row + s->margin];
            if (depth == INFINITY) continue;
            const int64_t n = out->nearest[at];
            const float *m = s->inward + 9 * n, *o = s->origin + 3 * n;
            float point[3];
            for (int k = 0; k < 3; k++) point[k] = o[k] + (m[3 * k] * x + m[3 * k + 1] * y - m[3 * k + 2]) * depth;
            out->pixel[count] = row * s->side + column;
            out->owner[count] = s->owner[n];
            out->opacity[count] = shade(s, n, point, out->colour + 3 * count);
            count++;
        }
    }
    return count;
}

/* --- exposure ------------------------------------------------------------------------------------------------ */

typedef struct {
    int64_t side, seen, down, right, taps; /* pixels of the picture, and that show an item; rows and columns that shadows lie off their things */
    const int64_t *pixel;
    const float *colour, *opacity, *grey, *tint, *lens, *grain;
    float light, gain, noise, shade, faint;
} Exposure;

static void cover(const Exposure *e, float *image, uint8_t *shadow) {
    const int64_t side = e->side;
    for (int64_t n = 0; n < side * side; n++)
        for (int k = 0; k < 3; k++) image[3 * n + k] = e->grey[n] * e->tint[k];
    memset(shadow, 0, side * side);
    for (int64_t n = 0; n < e->seen; n++) {
        const int64_t row = e->pixel[n] / side + e->down, column = e->pixel[n] % side + e->right;
        shadow[(row % side + side) % side * side + (column % side + side) % side] = 1;
    }
    for (int64_t n = 0; n < side * side; n++)
        for (int k = 0; k < 3; k++) image[3 * n + k] = shadow[n] ? image[3 * n + k] * e->shade : image[3 * n + k];
    for (int64_t n = 0; n < e->seen; n++) {
        float *at = image + 3 * e->pixel[n];
        for (int k = 0; k < 3; k++) at[k] = e->opacity[n] * e->colour[3 * n + k] + (1 - e->opacity[n]) * at[k];
    }
    for (int64_t n = 0; n < 3 * side * side; n++) image[n] = image[n] * e->light;
}

/* The sum of as many rows as the lens has taps, each by its weight; faint ones are left out. */
static void blend(const Exposure *e, const float *const *rows, float *out, int64_t count) {
    int64_t first = 0;
    while (first < e->taps && !(e->lens[first] > e->faint)) first++;
    for (int64_t n = 0; n < count; n++) out[n] = e->lens[first] * rows[first][n];
    for (int64_t tap = first + 1; tap < e->taps; tap++) {
        const float weight = e->lens[tap];
        if (!(weight > e->faint)) continue;
        for (int64_t n = 0; n < count; n++) out[n] = out[n] + weight * rows[tap][n];
    }
}

/* `image` and `blurred` [side][side][3] and `line` [side + taps][3] are room to work in; `shadow` [side][side] too. */
void develop(const Exposure *e, float *image, float *blurred, float *line, uint8_t *shadow, uint8_t *out) {
    const int64_t side = e->side, wide = 3 * side, reach = e->taps / 2;
    const float *rows[e->taps];
    cover(e, image, shadow);
    for (int64_t row = 0; row < side; row++) {
        for (int64_t tap = 0; tap < e->taps; tap++) {
            const int64_t from = row + tap - reach;
            rows[tap] = image + wide * (from < 0 ? 0 : from < side ? from : side - 1);
        }
        blend(e, rows, blurred + wide * row, wide);
    }
    for (int64_t row = 0; row < side; row++) {
        float *from = blurred + wide * row, *to = image; /* a row of what is not needed any more */
        memcpy(line + 3 * reach, from, sizeof(float) * wide);
        for (int64_t n = 0; n < 3 * reach; n++) line[n] = from[n % 3], line[3 * reach + wide + n] = from[wide - 3 + n % 3];
        for (int64_t tap = 0; tap < e->taps; tap++) rows[tap] = line + 3 * tap;
        blend(e, rows, to, wide);
        for (int64_t n = 0; n < wide; n++) {
            const float level = to[n] * e->gain + e->grain[wide * row + n] * e->noise;
            out[wide * row + n] = (uint8_t)(level < 0 ? 0 : level > 255 ? 255 : level);
        }
    }
}
