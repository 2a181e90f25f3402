// Searches in value tables. Included after a vector header.
#include "CKernels.h"

typedef struct levels16 {
  v16 levels[16];
  v16 bounds[15];
} levels16;

CK_INLINE void spread(const float *levels, const float *bounds, levels16 *wide) {
  for (int i = 0; i < 16; i++) wide->levels[i] = v_set(levels ? levels[i] : (float)i);
  for (int i = 0; i < 15; i++) wide->bounds[i] = v_set(bounds[i]);
}

CK_INLINE v16 level_of(v16 y, const levels16 *wide) {
  v16 value = wide->levels[0];
  for (int i = 0; i < 15; i++) value = v_select_lt(wide->bounds[i], y, wide->levels[i + 1], value);
  return value;
}

void ISA(ck_levels_sums)(const float *levels, const float *bounds, const float *x, const float *w, ptrdiff_t count,
                         const float *factors, ptrdiff_t factor_count, float *cross, float *square) {
  levels16 wide;
  spread(levels, bounds, &wide);
  for (ptrdiff_t k = 0; k < factor_count; k++) {
    v16 factor = v_set(factors[k]), cross_sum = v_zero(), square_sum = v_zero();
    for (ptrdiff_t i = 0; i < count; i += 16) {
      v16 value = v_load(x + i);
      v16 level = level_of(v_mul(value, factor), &wide);
      v16 weighted = v_mul(v_load(w + i), level);
      cross_sum = v_fma(weighted, value, cross_sum);
      square_sum = v_fma(weighted, level, square_sum);
    }
    cross[k] = v_sum(cross_sum);
    square[k] = v_sum(square_sum);
  }
}

void ISA(ck_levels_codes)(const float *bounds, const float *x, ptrdiff_t count, float factor, uint8_t *codes) {
  levels16 wide;
  spread(0, bounds, &wide);
  for (ptrdiff_t i = 0; i < count; i += 16)
    v_store_i8((int8_t *)codes + i, level_of(v_mul(v_load(x + i), v_set(factor)), &wide));
}

void ISA(ck_codebook_sums)(const float *grid, ptrdiff_t entries, ptrdiff_t dimensions, const float *wx, const float *w,
                           float *cross, float *square) {
  for (ptrdiff_t e = 0; e < entries; e += 16) {
    v16 cross_sum = v_zero(), square_sum = v_zero();
    for (ptrdiff_t d = 0; d < dimensions; d++) {
      v16 g = v_load(grid + d * entries + e);
      cross_sum = v_fma(v_set(wx[d]), g, cross_sum);
      square_sum = v_fma(v_mul(v_set(w[d]), g), g, square_sum);
    }
    v_store(cross + e, cross_sum);
    v_store(square + e, square_sum);
  }
}

int32_t ISA(ck_codebook_best)(const float *cross, const float *square, ptrdiff_t entries, float s, float *gain) {
  v16 twice = v_set(2 * s), negative = v_set(-s * s), best = v_set(-__builtin_inff()), place = v_zero();
  for (ptrdiff_t e = 0; e < entries; e += 16) {
    v16 value = v_fma(negative, v_load(square + e), v_mul(twice, v_load(cross + e)));
    place = v_select_lt(best, value, v_set((float)e), place);
    best = v_select_lt(best, value, value, best);
  }
  float values[16], places[16];
  v_store(values, best);
  v_store(places, place);
  int32_t winner = (int32_t)places[0];
  *gain = values[0];
  for (int lane = 1; lane < 16; lane++) {
    int32_t candidate = (int32_t)places[lane] + lane;
    if (values[lane] > *gain || (values[lane] == *gain && candidate < winner)) {
      *gain = values[lane];
      winner = candidate;
    }
  }
  return winner;
}
