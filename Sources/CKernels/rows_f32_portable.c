#define CK_IS_PORTABLE
#pragma STDC FP_CONTRACT OFF
#include "vector_portable.h"

#include "body_math.h"
#include "body_hadamard.h"
#include "body_rows_f32.h"
#include "vector_end.h"
