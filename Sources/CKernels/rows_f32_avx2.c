#if defined(__x86_64__)
#pragma STDC FP_CONTRACT OFF
#include "vector_avx2.h"

#include "body_math.h"
#include "body_hadamard.h"
#include "body_rows_f32.h"
#include "vector_end.h"
#endif
