// Search for the steps of 16 groups of weights at once, one group a lane, so that lanes never mix and every instruction
// set gives the same bits. Included after a vector header.
//
// A symmetric group is x = step * q with q in low...high; an offset group is x = step * q - minimum with q in 0...top
// and a minimum that is not negative where it is `bounded`. All of them minimize sum(w (x - x')^2).

// Processors with vectors get these functions with every constant put in; elsewhere one copy of each is enough.
#if defined(CK_IS_PORTABLE)
#define CK_SEARCH static __attribute__((noinline))
#else
#define CK_SEARCH CK_INLINE
#endif

/// The longest group.
enum { GROUP_MAX = 32 };

/// Sixteen groups: element `i` of the group in lane `l` is `x[i * 16 + l]`, and so with its weight.
typedef struct groups {
  float x[GROUP_MAX * 16];
  float w[GROUP_MAX * 16];
} groups;

/// Weights of a group, and whether their squared errors have weights other than 1. Known to the compiler.
typedef struct shape {
  int length, weighted;
} shape;

/// The best symmetric grid so far.
typedef struct step_fit {
  v16 step, error;
} step_fit;

/// The best grid with an offset so far.
typedef struct offset_fit {
  v16 step, minimum, error;
} offset_fit;

CK_INLINE v16 v_clamp(v16 x, v16 low, v16 high) { return v_min(v_max(x, low), high); }
/// a / b, 0 where b is not positive.
CK_INLINE v16 v_ratio(v16 a, v16 b) {
  v16 zero = v_zero();
  v16 safe = v_select_lt(zero, b, b, v_set(1));
  return v_select_lt(zero, b, v_div(a, safe), zero);
}
/// 1 / b, 0 where b is 0; b may be negative.
CK_INLINE v16 v_inverse(v16 b) {
  v16 zero = v_zero(), magnitude = v_abs(b);
  v16 safe = v_select_lt(zero, magnitude, b, v_set(1));
  return v_select_lt(zero, magnitude, v_div(v_set(1), safe), zero);
}

/// Steps that are tried in one pass over the weights: their sums do not wait for each other. More have no registers with AVX2.
enum { STEPS_AT_ONCE = 2 };

/// Offers the grids that are best for the codes that `count` steps give. Works on residuals in units of the step, which
/// keeps its precision however many bits the codes have.
CK_SEARCH void step_candidates(const groups *g, shape of, int count, const v16 *step, const v16 *inverse, float low,
                               float high, step_fit *best) {
  v16 squares[STEPS_AT_ONCE], cross[STEPS_AT_ONCE], rest[STEPS_AT_ONCE];
  v16 lowest = v_set(low), highest = v_set(high);
  for (int k = 0; k < count; k++) squares[k] = cross[k] = rest[k] = v_zero();
  for (int i = 0; i < of.length; i++) {
    v16 x = v_load(g->x + i * 16), w = of.weighted ? v_load(g->w + i * 16) : v_zero();
    for (int k = 0; k < count; k++) {
      v16 t = v_mul(x, inverse[k]);
      v16 q = v_round(v_clamp(t, lowest, highest));
      v16 r = v_sub(t, q);
      v16 wq = of.weighted ? v_mul(w, q) : q, wr = of.weighted ? v_mul(w, r) : r;
      squares[k] = v_fma(wq, q, squares[k]);
      cross[k] = v_fma(wq, r, cross[k]);
      rest[k] = v_fma(wr, r, rest[k]);
    }
  }
  for (int k = 0; k < count; k++) {
    v16 factor = v_ratio(cross[k], squares[k]);
    v16 error = v_mul(v_mul(v_sub(rest[k], v_mul(factor, cross[k])), step[k]), step[k]);
    v16 fitted = v_fma(factor, step[k], step[k]);
    best->step = v_select_lt(error, best->error, fitted, best->step);
    best->error = v_select_lt(error, best->error, error, best->error);
  }
}

/// sum(w (x - step q)^2) for the nearest codes of each of `count` steps, three at most.
CK_SEARCH void step_errors(const groups *g, shape of, int count, const v16 *step, float low, float high, v16 *sum) {
  v16 inverse[3], negative[3], lowest = v_set(low), highest = v_set(high);
  for (int k = 0; k < count; k++) {
    inverse[k] = v_inverse(step[k]);
    negative[k] = v_sub(v_zero(), step[k]);
    sum[k] = v_zero();
  }
  for (int i = 0; i < of.length; i++) {
    v16 x = v_load(g->x + i * 16), w = of.weighted ? v_load(g->w + i * 16) : v_zero();
    for (int k = 0; k < count; k++) {
      v16 q = v_round(v_clamp(v_mul(x, inverse[k]), lowest, highest));
      v16 e = v_fma(negative[k], q, x);
      sum[k] = v_fma(of.weighted ? v_mul(w, e) : e, e, sum[k]);
    }
  }
}

CK_INLINE v16 step_error(const groups *g, shape of, v16 step, float low, float high) {
  v16 sum;
  step_errors(g, of, 1, &step, low, high, &sum);
  return sum;
}

/// What `step_error` gives, with sum(w q q) and sum(w q x).
CK_SEARCH v16 step_moments(const groups *g, shape of, v16 step, float low, float high, v16 *qq, v16 *qx) {
  v16 inverse = v_inverse(step), sum = v_zero(), squares = v_zero(), cross = v_zero();
  v16 lowest = v_set(low), highest = v_set(high);
  v16 negative = v_sub(v_zero(), step);
  for (int i = 0; i < of.length; i++) {
    v16 x = v_load(g->x + i * 16);
    v16 q = v_round(v_clamp(v_mul(x, inverse), lowest, highest));
    v16 e = v_fma(negative, q, x);
    v16 w = of.weighted ? v_load(g->w + i * 16) : v_zero();
    v16 wq = of.weighted ? v_mul(w, q) : q;
    sum = v_fma(of.weighted ? v_mul(w, e) : e, e, sum);
    squares = v_fma(wq, q, squares);
    cross = v_fma(wq, x, cross);
  }
  *qq = squares, *qx = cross;
  return sum;
}

/// Sums over the weights of each group.
typedef struct weight_sums {
  v16 w, wx;
} weight_sums;

CK_SEARCH weight_sums sum_weights(const groups *g, shape of) {
  weight_sums s = {v_zero(), v_zero()};
  for (int i = 0; i < of.length; i++) {
    v16 x = v_load(g->x + i * 16);
    v16 w = of.weighted ? v_load(g->w + i * 16) : v_set(1);
    s.w = v_add(s.w, w);
    s.wx = v_fma(w, x, s.wx);
  }
  return s;
}

/// Sums that a fit with an offset needs: t are weights in units of the step, q their codes, r = t - q.
typedef struct offset_sums {
  v16 qq, q, qr, r, rr;
} offset_sums;

CK_SEARCH offset_sums sum_residuals(const groups *g, shape of, v16 inverse, v16 offset, float top) {
  offset_sums s = {v_zero(), v_zero(), v_zero(), v_zero(), v_zero()};
  v16 zero = v_zero(), highest = v_set(top);
  for (int i = 0; i < of.length; i++) {
    v16 t = v_fma(v_load(g->x + i * 16), inverse, offset);
    v16 q = v_round(v_clamp(t, zero, highest));
    v16 r = v_sub(t, q);
    v16 wq = q, wr = r;
    if (of.weighted) {
      v16 w = v_load(g->w + i * 16);
      wq = v_mul(w, q);
      wr = v_mul(w, r);
    }
    s.q = v_add(s.q, wq);
    s.r = v_add(s.r, wr);
    s.qq = v_fma(wq, q, s.qq);
    s.qr = v_fma(wq, r, s.qr);
    s.rr = v_fma(wr, r, s.rr);
  }
  return s;
}

/// Offers the grid that is best for the codes that `step` and `minimum` give.
CK_SEARCH void offset_candidate(const groups *g, shape of, weight_sums sums, v16 step, v16 inverse, v16 minimum, int bounded,
                                float top, offset_fit *best) {
  v16 zero = v_zero(), offset = v_mul(minimum, inverse);
  offset_sums s = sum_residuals(g, of, inverse, offset, top);
  // t = (1 + a) q + b
  v16 determinant = v_sub(v_mul(sums.w, s.qq), v_mul(s.q, s.q));
  v16 a = v_ratio(v_sub(v_mul(sums.w, s.qr), v_mul(s.q, s.r)), determinant);
  v16 b = v_ratio(v_sub(s.r, v_mul(a, s.q)), sums.w);
  v16 error = v_sub(s.rr, v_add(v_mul(a, s.qr), v_mul(b, s.r)));
  v16 fitted_minimum = v_fma(v_sub(zero, b), step, minimum);
  if (bounded) {
    // Where that minimum is negative, b = offset, so that it is zero.
    v16 cross = v_sub(s.qr, v_mul(offset, s.q));
    v16 bound_a = v_ratio(cross, s.qq);
    v16 rest = v_fma(v_mul(offset, offset), sums.w, v_sub(s.rr, v_mul(v_add(offset, offset), s.r)));
    a = v_select_lt(fitted_minimum, zero, bound_a, a);
    error = v_select_lt(fitted_minimum, zero, v_sub(rest, v_mul(bound_a, cross)), error);
    fitted_minimum = v_max(fitted_minimum, zero);
  }
  v16 fitted = v_fma(a, step, step);
  error = v_mul(v_mul(error, step), step);
  best->step = v_select_lt(error, best->error, fitted, best->step);
  best->minimum = v_select_lt(error, best->error, fitted_minimum, best->minimum);
  best->error = v_select_lt(error, best->error, error, best->error);
}

/// sum(w (x - (step q - minimum))^2) for the nearest codes with each of `count` minimums, two at most; step is not negative.
CK_SEARCH void offset_errors(const groups *g, shape of, v16 step, int count, const v16 *minimum, float top, v16 *sum) {
  v16 inverse = v_inverse(step), negative = v_sub(v_zero(), step), zero = v_zero(), highest = v_set(top);
  for (int k = 0; k < count; k++) sum[k] = zero;
  for (int i = 0; i < of.length; i++) {
    v16 x = v_load(g->x + i * 16), w = of.weighted ? v_load(g->w + i * 16) : zero;
    for (int k = 0; k < count; k++) {
      v16 y = v_add(x, minimum[k]);
      v16 q = v_round(v_clamp(v_mul(y, inverse), zero, highest));
      v16 e = v_fma(negative, q, y);
      sum[k] = v_fma(of.weighted ? v_mul(w, e) : e, e, sum[k]);
    }
  }
}

CK_INLINE v16 offset_error(const groups *g, shape of, v16 step, v16 minimum, float top) {
  v16 sum;
  offset_errors(g, of, step, 1, &minimum, top, &sum);
  return sum;
}

/// Sums over the nearest codes of a step that is not negative and a minimum: w q q, w q and w q x.
typedef struct offset_moments {
  v16 qq, q, qx;
} offset_moments;

CK_SEARCH offset_moments sum_codes(const groups *g, shape of, v16 step, v16 minimum, float top) {
  offset_moments s = {v_zero(), v_zero(), v_zero()};
  v16 inverse = v_inverse(step), zero = v_zero(), highest = v_set(top);
  for (int i = 0; i < of.length; i++) {
    v16 x = v_load(g->x + i * 16);
    v16 q = v_round(v_clamp(v_mul(v_add(x, minimum), inverse), zero, highest));
    v16 wq = of.weighted ? v_mul(v_load(g->w + i * 16), q) : q;
    s.q = v_add(s.q, wq);
    s.qq = v_fma(wq, q, s.qq);
    s.qx = v_fma(wq, x, s.qx);
  }
  return s;
}

/// Transposes sixteen consecutive groups, each times its unit; `length` is a multiple of 16.
CK_SEARCH void load_groups(groups *g, const float *x, int length, const float unit[16]) {
  for (int i = 0; i < length; i += 16) {
    v16 rows[16];
    for (int lane = 0; lane < 16; lane++) rows[lane] = v_mul(v_load(x + lane * length + i), v_set(unit[lane]));
    v_transpose(rows);
    for (int k = 0; k < 16; k++) v_store(g->x + (i + k) * 16, rows[k]);
  }
}

/// Transposes the weights of a group to its lane; weights that are all zero count as one.
CK_INLINE void load_weights(groups *g, int length, int lane, const float *w) {
  float sum = 0;
  for (int i = 0; i < length; i++) sum += g->w[i * 16 + lane] = w[i];
  if (sum > 0) return;
  for (int i = 0; i < length; i++) g->w[i * 16 + lane] = 1;
}

/// Largest magnitude of `count` values; `count` is a multiple of 16.
CK_INLINE float largest_magnitude(const float *x, int count) {
  v16 m = v_zero();
  for (int i = 0; i < count; i += 16) m = v_max(v_abs(v_load(x + i)), m);
  return v_maximum(m);
}

/// The power of two that brings `magnitude` to 1...2, within limits, so that neither squares overflow nor they vanish.
CK_INLINE float unit_of(float magnitude) {
  uint32_t bits;
  memcpy(&bits, &magnitude, 4);
  int exponent = (int)(bits >> 23) - 127;
  if (exponent < -100) exponent = -100;
  if (exponent > 126) exponent = 126;
  bits = (uint32_t)(127 - exponent) << 23;
  float unit;
  memcpy(&unit, &bits, 4);
  return unit;
}

/// The f16 nearest to `value / unit`, and its value times `unit`.
CK_INLINE float stored_factor(float value, float unit, uint16_t *half) {
  *half = ck_float_to_half(value / unit);
  return ck_half_to_float(*half) * unit;
}

/// The whole number at or below x, which is not negative.
CK_INLINE v16 v_floor_positive(v16 x) {
  v16 r = v_round(x);
  return v_select_lt(x, r, v_sub(r, v_set(1)), r);
}

/// Codes of consecutive weights on a grid: the same arithmetic as in the errors above.
CK_SEARCH void code_steps(const float *x, int length, float unit, float inverse_step, float low, float high, int8_t *codes) {
  v16 inverse = v_set(inverse_step), factor = v_set(unit), lowest = v_set(low), highest = v_set(high);
  for (int i = 0; i < length; i += 16) {
    v16 t = v_mul(v_mul(v_load(x + i), factor), inverse);
    v_store_i8(codes + i, v_clamp(t, lowest, highest));
  }
}

CK_SEARCH void code_offsets(const float *x, int length, float unit, float inverse_step, float minimum, float top,
                            int8_t *codes) {
  v16 inverse = v_set(inverse_step), factor = v_set(unit), offset = v_set(minimum);
  v16 zero = v_zero(), highest = v_set(top);
  for (int i = 0; i < length; i += 16) {
    v16 y = v_add(v_mul(v_load(x + i), factor), offset);
    v_store_i8(codes + i, v_clamp(v_mul(y, inverse), zero, highest));
  }
}
