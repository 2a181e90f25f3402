// exp, tanh, erf and their friends on vectors. Polynomials are minimax fits of our own (weighted least squares with
// Lawson's reweighting); the errors given are theirs, rounding adds about one unit in the last place.
// Included after a vector header.

/// exp(x): 0 below -103.98, infinity above 88.73; relative error of the polynomial 3.2e-9.
CK_INLINE v16 v_exp(v16 x) {
  v16 clamped = v_min(v_set(89.0f), v_max(v_set(-104.0f), x));  // this order lets NaN through
  v16 n = v_round(v_mul(clamped, v_set(0x1.715476p+0f)));
  v16 r = v_fma(n, v_set(-0x1.62e400p-1f), clamped);
  r = v_fma(n, v_set(-0x1.7f7d1cp-20f), r);
  v16 q = v_set(0x1.6db47ap-10f);
  q = v_fma(q, r, v_set(0x1.123b92p-7f));
  q = v_fma(q, r, v_set(0x1.55545ep-5f));
  q = v_fma(q, r, v_set(0x1.55548ep-3f));
  q = v_fma(q, r, v_set(0.5f));
  v16 value = v_add(v_fma(v_mul(r, r), q, r), v_set(1.0f));
  // Two factors, so that neither leaves the range of normal numbers.
  v16 half = v_round(v_mul(n, v_set(0.5f)));
  value = v_mul(v_mul(value, v_power2(half)), v_power2(v_sub(n, half)));
  value = v_select_lt(x, v_set(-103.98f), v_zero(), value);
  return v_select_lt(v_set(88.73f), x, v_set(__builtin_inff()), value);
}

/// tanh(x): x + x^3 P(x^2) near zero (1e-9), else 1 - 2 / (exp(2|x|) + 1) with the sign of x.
CK_INLINE v16 v_tanh(v16 x) {
  v16 magnitude = v_abs(x), z = v_mul(x, x);
  v16 q = v_set(-0x1.9bba4ep-8f);
  q = v_fma(q, z, v_set(0x1.595682p-6f));
  q = v_fma(q, z, v_set(-0x1.b92bbap-5f));
  q = v_fma(q, z, v_set(0x1.110d3cp-3f));
  q = v_fma(q, z, v_set(-0x1.55554cp-2f));
  v16 near = v_fma(v_mul(q, z), x, x);
  v16 grown = v_add(v_exp(v_add(magnitude, magnitude)), v_set(1.0f));
  v16 far = v_copysign(v_sub(v_set(1.0f), v_div(v_set(2.0f), grown)), x);
  return v_select_lt(magnitude, v_set(0.55f), near, far);
}

/// erf(x): x P(x^2) below 1 (1.2e-9), else 1 - exp(-Q(|x|)) with the sign of x (2.2e-11); 1 from 4 on.
CK_INLINE v16 v_erf(v16 x) {
  v16 magnitude = v_min(v_set(4.0f), v_abs(x)), z = v_mul(x, x);
  v16 p = v_set(0x1.496a2p-14f);
  p = v_fma(p, z, v_set(-0x1.a3f6fap-11f));
  p = v_fma(p, z, v_set(0x1.5405bp-8f));
  p = v_fma(p, z, v_set(-0x1.b7f90cp-6f));
  p = v_fma(p, z, v_set(0x1.ce2cf8p-4f));
  p = v_fma(p, z, v_set(-0x1.81273ep-2f));
  p = v_fma(p, z, v_set(0x1.20dd74p+0f));
  v16 q = v_set(0x1.6c091cp-16f);
  q = v_fma(q, magnitude, v_set(-0x1.ceece2p-12f));
  q = v_fma(q, magnitude, v_set(0x1.13999ap-8f));
  q = v_fma(q, magnitude, v_set(-0x1.9d0c46p-6f));
  q = v_fma(q, magnitude, v_set(0x1.bc18fep-4f));
  q = v_fma(q, magnitude, v_set(0x1.4434eap-1f));
  q = v_fma(q, magnitude, v_set(0x1.212c2ep+0f));
  q = v_fma(q, magnitude, v_set(-0x1.8b497ap-13f));
  v16 far = v_copysign(v_sub(v_set(1.0f), v_exp(v_sub(v_zero(), q))), x);
  return v_select_lt(magnitude, v_set(1.0f), v_mul(x, p), far);
}

/// x / (1 + exp(-x)).
CK_INLINE v16 v_silu(v16 x) { return v_div(x, v_add(v_set(1.0f), v_exp(v_sub(v_zero(), x)))); }

/// 1 / (1 + exp(-x)).
CK_INLINE v16 v_sigmoid(v16 x) { return v_div(v_set(1.0f), v_add(v_set(1.0f), v_exp(v_sub(v_zero(), x)))); }

/// x / 2 * (1 + erf(x / sqrt 2)).
CK_INLINE v16 v_gelu(v16 x) {
  return v_mul(v_mul(v_set(0.5f), x), v_add(v_set(1.0f), v_erf(v_mul(x, v_set(0x1.6a09e6p-1f)))));
}

/// x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))).
CK_INLINE v16 v_gelu_tanh(v16 x) {
  v16 cube = v_mul(v_mul(x, x), x);
  v16 inner = v_mul(v_set(0x1.988454p-1f), v_fma(v_set(0.044715f), cube, x));
  return v_mul(v_mul(v_set(0.5f), x), v_add(v_set(1.0f), v_tanh(inner)));
}
