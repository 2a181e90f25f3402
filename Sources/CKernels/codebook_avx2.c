#if defined(__x86_64__)
#pragma STDC FP_CONTRACT OFF
#include "vector_avx2.h"

#include "body_codebook.h"
#include "vector_end.h"
#endif
