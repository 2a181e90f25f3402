// Runs the quantizers of ggml-base on float32 from standard input: ggml_reference FORMAT COLUMNS [IMPORTANCE-FILE].
// cc -O2 ggml_reference.c -o ggml_reference libggml-base.a -lstdc++ -lm -lpthread -fopenmp
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LEGACY(F) void quantize_row_##F##_ref(const float *, void *, int64_t);
#define SEARCHED(F) size_t quantize_##F(const float *, void *, int64_t, int64_t, const float *);
LEGACY(q4_0) LEGACY(q4_1) LEGACY(q5_0) LEGACY(q5_1) LEGACY(q8_0)
SEARCHED(q2_K) SEARCHED(q3_K) SEARCHED(q4_K) SEARCHED(q5_K) SEARCHED(q6_K)

int main(int count, char **arguments) {
  if (count < 3) return 64;
  size_t room = 1 << 26;
  float *x = malloc(room), *w = 0;
  int64_t values = (int64_t)fread(x, 4, room / 4, stdin), columns = atoll(arguments[2]);
  char *y = calloc(room, 2);
  size_t bytes = 0;
  if (count > 3) {
    w = malloc((size_t)columns * 4);
    FILE *file = fopen(arguments[3], "rb");
    if (!file || fread(w, 4, (size_t)columns, file) != (size_t)columns) return 66;
  }
#undef LEGACY
#undef SEARCHED
#define LEGACY(F, SIZE) \
  if (!strcmp(arguments[1], #F)) quantize_row_##F##_ref(x, y, values), bytes = (size_t)values / 32 * SIZE;
#define SEARCHED(F) \
  if (!strcmp(arguments[1], #F)) bytes = quantize_##F(x, y, values / columns, columns, w);
  LEGACY(q4_0, 18) LEGACY(q4_1, 20) LEGACY(q5_0, 22) LEGACY(q5_1, 24) LEGACY(q8_0, 34)
  SEARCHED(q2_K) SEARCHED(q3_K) SEARCHED(q4_K) SEARCHED(q5_K) SEARCHED(q6_K)
  return fwrite(y, 1, bytes, stdout) == bytes ? 0 : 74;
}
