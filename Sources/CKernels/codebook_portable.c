#define CK_IS_PORTABLE
#pragma STDC FP_CONTRACT OFF
#include "vector_portable.h"

#include "body_codebook.h"
#include "vector_end.h"
