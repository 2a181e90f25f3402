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

/// The first weight of largest magnitude. Which sign wins is as good as random, so no branch depends on it.
CK_INLINE float signed_extreme(const float *x) {
  v16 a = v_load(x), b = v_load(x + 16);
  float high = v_maximum(v_max(a, b)), low = v_maximum(v_max(v_sub(v_zero(), a), v_sub(v_zero(), b)));
  if (__builtin_expect(high == low, 0)) {
    for (int i = 0; i < 32; i++)
      if (__builtin_fabsf(x[i]) == high) return high > 0 ? x[i] : 0;
    return 0;
  }
  float magnitude = high > low ? high : low;
  uint32_t bits, sign = (uint32_t)(low > high) << 31;
  memcpy(&bits, &magnitude, 4);
  bits |= sign;
  memcpy(&magnitude, &bits, 4);
  return magnitude;
}

/// The reciprocal that codes are made with; none for scales so small that it overflows.
CK_INLINE float code_factor(float d) {
  if (d == 0) return 0;
  float inverse = 1 / d;
  return __builtin_isinf(inverse) ? 0 : inverse;
}

/// trunc(x / d + bias), at most high.
CK_INLINE legacy_grid extremes_scaled(const float *x, legacy_kind kind, int8_t *codes) {
  float d = signed_extreme(x) / kind.low;
  v16 inverse = v_set(code_factor(d)), bias = v_set(0.5f - kind.low), highest = v_set(kind.high - kind.low);
  for (int i = 0; i < 32; i += 16) {
    v16 t = v_add(v_mul(v_load(x + i), inverse), bias);
    v_truncate_i8(codes + i, v_clamp(t, v_zero(), highest));
  }
  legacy_grid grid = {v_half(d), 0};
  return grid;
}

/// trunc((x - min) / d + 0.5), at most high.
CK_INLINE legacy_grid extremes_offset(const float *x, legacy_kind kind, int8_t *codes) {
  v16 a = v_load(x), b = v_load(x + 16);
  float high = v_maximum(v_max(a, b)), low = -v_maximum(v_max(v_sub(v_zero(), a), v_sub(v_zero(), b)));
  // Zeros keep the sign of the first.
  for (int i = 0; low == 0 && i < 32; i++)
    if (x[i] == 0) {
      low = x[i];
      break;
    }
  float d = (high - low) / kind.high + 0.0f;
  v16 inverse = v_set(code_factor(d)), minimum = v_set(low), highest = v_set(kind.high);
  for (int i = 0; i < 32; i += 16) {
    v16 t = v_add(v_mul(v_sub(v_load(x + i), minimum), inverse), v_set(0.5f));
    v_truncate_i8(codes + i, v_clamp(t, v_zero(), highest));
  }
  legacy_grid grid = {v_half(d), v_half(low)};
  return grid;
}

/// Q8_0: d = absmax / 127, codes to nearest, halves away from zero.
CK_INLINE legacy_grid extremes_bytes(const float *x, int8_t *codes) {
  float d = largest_magnitude(x, 32) / 127.0f;
  // The number before 0.5: adding it and cutting off the fraction rounds halves away from zero, and nothing below them.
  v16 inverse = v_set(code_factor(d)), half = v_set(0x1.fffffep-2f);
  for (int i = 0; i < 32; i += 16) {
    v16 t = v_mul(v_load(x + i), inverse);
    v_truncate_i8(codes + i, v_add(t, v_copysign(half, t)));
  }
  legacy_grid grid = {v_half(d), 0};
  return grid;
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
  k_kind search = {32, 16, kind.low, kind.high, 0, kind.starts, kind.first, kind.stride, 0};
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
  step = stored_lanes(fit_steps(g, of, search).step, unit, half);
  keep_better(error, step_error(g, of, step, kind.low, kind.high), d, half, m, none);
}

/// Best scales and minimums of 16 blocks.
CK_SEARCH void search_scales_offset(const groups *g, shape of, legacy_kind kind, const float unit[16], uint16_t d[16],
                                    uint16_t m[16]) {
  k_kind search = {32, 16, 0, kind.high, 0, kind.starts, kind.first, kind.stride, 0};
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
  offset_fit fit = fit_offsets(g, of, sums, search, 0);
  step = stored_lanes(fit.step, unit, half_d);
  // The minimum of least error for the codes of the step as stored.
  v16 qq, q, qx;
  offset_moments(g, of, step, fit.minimum, kind.high, &qq, &q, &qx);
  minimum = stored_lanes(v_mul(v_sub(sums.wx, v_mul(step, q)), v_inverse(sums.w)), unit, half_m);
  keep_better(error, offset_error(g, of, step, v_sub(zero, minimum), kind.high), d, half_d, m, half_m);
}
