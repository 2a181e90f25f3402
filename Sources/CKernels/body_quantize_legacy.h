// Blocks of 32 weights with one scale. Included after body_quantize_k.h.
//
// `extremes` is the arithmetic of the reference quantizers of the formats, operation by operation, since files are
// compared byte by byte; `search` looks for the least weighted error among grids that include the one of the extremes.

/// A kind of block of 32 weights: codes low...high times a scale, or 0...high times a scale plus a minimum.
typedef struct legacy_kind {
  float low, high;
  int has_minimum;
  /// Levels that the search first divides the range into, relative to all of them: `first`, `first + stride`, ...
  int starts;
  float first, stride;
} legacy_kind;

/// The factors of a block as stored.
typedef struct legacy_grid {
  uint16_t d, m;
} legacy_grid;

/// The first of 32 weights whose magnitude is `high`, that of the least and of the largest; 0 when all are.
CK_INLINE float first_extreme(const float *x, float high) {
  for (int i = 0; i < 32 && high > 0; i++)
    if (__builtin_fabsf(x[i]) == high) return x[i];
  return 0;
}

/// Least and largest of 32 weights.
CK_INLINE void extremes_of(const float *x, float *low, float *high) {
  v16 a = v_load(x), b = v_load(x + 16);
  *high = v_maximum(v_max(a, b));
  *low = -v_maximum(v_max(v_sub(v_zero(), a), v_sub(v_zero(), b)));
}

/// Factors of 16 blocks by their extremes: what is stored, and the reciprocals that codes are made with.
typedef struct legacy_factors {
  float inverse[16], minimum[16];
  uint16_t half_d[16], half_m[16];
} legacy_factors;

/// The weight of largest magnitude of each block, with its sign; the first one where two signs have it.
CK_INLINE v16 signed_extremes(const float *x, int count) {
  float low[16] = {0}, high[16] = {0};
  for (int lane = 0; lane < count; lane++) {
    extremes_of(x + lane * 32, &low[lane], &high[lane]);
    // Taken as both.
    if (__builtin_expect(high[lane] == -low[lane], 0)) low[lane] = high[lane] = first_extreme(x + lane * 32, high[lane]);
  }
  v16 least = v_load(low), largest = v_load(high);
  return v_select_lt(v_abs(largest), v_abs(least), least, largest);
}

/// Least weights of blocks, and how far the largest are above them.
CK_INLINE v16 spans(const float *x, int count, float minimum[16]) {
  float high[16] = {0};
  for (int lane = 0; lane < count; lane++) {
    const float *block = x + lane * 32;
    extremes_of(block, &minimum[lane], &high[lane]);
    // Zeros keep the sign of the first.
    for (int i = 0; minimum[lane] == 0 && i < 32; i++)
      if (block[i] == 0) {
        minimum[lane] = block[i];
        break;
      }
  }
  return v_sub(v_load(high), v_load(minimum));
}

CK_INLINE v16 largest_magnitudes(const float *x, int count) {
  float largest[16] = {0};
  for (int lane = 0; lane < count; lane++) largest[lane] = largest_magnitude(x + lane * 32, 32);
  return v_load(largest);
}

/// Factors of up to 16 blocks. One block's is a chain of operations that wait for each other; 16 at once are not.
CK_INLINE legacy_factors extremes_factors(const float *x, int count, legacy_kind kind) {
  legacy_factors factors = {{0}, {0}, {0}, {0}};
  v16 d = kind.high == 127  ? v_div(largest_magnitudes(x, count), v_set(kind.high))
          : kind.has_minimum ? v_add(v_div(spans(x, count, factors.minimum), v_set(kind.high)), v_zero())
                             : v_div(signed_extremes(x, count), v_set(kind.low));
  v16 inverse = v_div(v_set(1), d);
  // None for scales so small that it overflows.
  v_store(factors.inverse, v_select_lt(v_abs(inverse), v_set(__builtin_inff()), inverse, v_zero()));
  v_store_f16(factors.half_d, d);
  v_store_f16(factors.half_m, v_load(factors.minimum));
  return factors;
}

/// Codes of a block: trunc(x / d + bias) at most high, trunc((x - min) / d + 0.5) at most high, or for bytes to nearest,
/// halves away from zero.
CK_INLINE void extremes_codes(const float *x, legacy_kind kind, float factor, float least, int8_t *codes) {
  v16 inverse = v_set(factor), minimum = v_set(least);
  for (int i = 0; i < 32; i += 16) {
    v16 value = v_load(x + i);
    if (kind.high == 127) {
      v16 t = v_mul(value, inverse);
      // The number before 0.5: adding it and cutting off the fraction rounds halves away from zero, and nothing below.
      v_truncate_i8(codes + i, v_add(t, v_copysign(v_set(0x1.fffffep-2f), t)));
    } else if (kind.has_minimum) {
      v16 t = v_add(v_mul(v_sub(value, minimum), inverse), v_set(0.5f));
      v_truncate_i8(codes + i, v_clamp(t, v_zero(), v_set(kind.high)));
    } else {
      v16 t = v_add(v_mul(value, inverse), v_set(0.5f - kind.low));
      v_truncate_i8(codes + i, v_clamp(t, v_zero(), v_set(kind.high - kind.low)));
    }
  }
}

/// Rounds steps of 16 blocks, in their units, as they are stored.
CK_INLINE v16 stored_lanes(v16 values, const float unit[16], uint16_t half[16]) {
  float lanes[16];
  v_store(lanes, values);
  for (int lane = 0; lane < 16; lane++) lanes[lane] = stored_factor(lanes[lane], unit[lane], &half[lane]);
  return v_load(lanes);
}

/// The better of two grids, lane by lane: keeps `error` and the halves up to date.
CK_INLINE void keep_better(float *error, v16 candidate, uint16_t d[16], const uint16_t next_d[16], uint16_t m[16],
                           const uint16_t next_m[16]) {
  float errors[16];
  v_store(errors, candidate);
  for (int lane = 0; lane < 16; lane++) {
    if (!(errors[lane] < error[lane])) continue;
    error[lane] = errors[lane];
    d[lane] = next_d[lane];
    m[lane] = next_m[lane];
  }
}

/// Best scales of 16 blocks without minimums.
CK_SEARCH void search_scales(const groups *g, shape of, legacy_kind kind, const float unit[16], uint16_t d[16], uint16_t m[16]) {
  k_kind search = {32, 16, kind.low, kind.high, 0, kind.first, {kind.starts, kind.stride}, {kind.starts, kind.stride}, 0};
  float extremes[16], error[16];
  for (int lane = 0; lane < 16; lane++) {
    float extreme = 0;
    for (int i = 0; i < 32; i++)
      if (__builtin_fabsf(g->x[i * 16 + lane]) > __builtin_fabsf(extreme)) extreme = g->x[i * 16 + lane];
    extremes[lane] = extreme / kind.low;
    error[lane] = __builtin_inff();
  }
  uint16_t half[16], none[16] = {0};
  v16 step = stored_lanes(v_load(extremes), unit, half);
  keep_better(error, step_error(g, of, step, kind.low, kind.high), d, half, m, none);
  step_fit fit = first_steps(g, of, search);
  refit_steps(g, of, search, &fit);
  step = stored_lanes(fit.step, unit, half);
  keep_better(error, step_error(g, of, step, kind.low, kind.high), d, half, m, none);
}

/// Best scales and minimums of 16 blocks.
CK_SEARCH void search_scales_offset(const groups *g, shape of, legacy_kind kind, const float unit[16], uint16_t d[16],
                                    uint16_t m[16]) {
  k_kind search = {32, 16, 0, kind.high, 0, kind.first, {kind.starts, kind.stride}, {kind.starts, kind.stride}, 0};
  v16 zero = v_zero(), low = v_load(g->x), high = low;
  for (int i = 0; i < 32; i++) {
    low = v_min(v_load(g->x + i * 16), low);
    high = v_max(v_load(g->x + i * 16), high);
  }
  float error[16];
  v_store(error, v_set(__builtin_inff()));
  uint16_t half_d[16], half_m[16];
  v16 step = stored_lanes(v_div(v_sub(high, low), v_set(kind.high)), unit, half_d);
  v16 minimum = stored_lanes(low, unit, half_m);
  keep_better(error, offset_error(g, of, step, v_sub(zero, minimum), kind.high), d, half_d, m, half_m);

  weight_sums sums = sum_weights(g, of);
  offset_fit fit = first_offsets(g, of, sums, search, 0);
  refit_offsets(g, of, sums, search, 0, &fit);
  step = stored_lanes(fit.step, unit, half_d);
  // The minimum of least error for the codes of the step as stored.
  v16 q = sum_codes(g, of, step, fit.minimum, kind.high).q;
  minimum = stored_lanes(v_mul(v_sub(sums.wx, v_mul(step, q)), v_inverse(sums.w)), unit, half_m);
  keep_better(error, offset_error(g, of, step, v_sub(zero, minimum), kind.high), d, half_d, m, half_m);
}
