extension CodecRegistry {
  /// The GGML types with tables of values.
  static let codebookEntries: [CodecEntry] = [
    CodecEntry(IQ4NLCodec(), summary: "GGML, 4.5 bits, 16 uneven levels"),
    CodecEntry(IQ4XSCodec(), summary: "GGML, 4.25 bits, 16 uneven levels, scales in blocks of 256"),
    CodecEntry(IQ3SCodec(), summary: "GGML, 3.4375 bits, codebook"),
    CodecEntry(IQ3XXSCodec(), summary: "GGML, 3.0625 bits, codebook"),
    CodecEntry(IQ2SCodec(), summary: "GGML, 2.5625 bits, codebook"),
    CodecEntry(IQ2XSCodec(), summary: "GGML, 2.3125 bits, codebook"),
    CodecEntry(IQ2XXSCodec(), summary: "GGML, 2.0625 bits, codebook"),
    CodecEntry(IQ1MCodec(), summary: "GGML, 1.75 bits, codebook, read only"),
    CodecEntry(IQ1SCodec(), summary: "GGML, 1.5625 bits, codebook, read only"),
    CodecEntry(TQ2Codec(), summary: "GGML, 2.0625 bits, ternary"),
    CodecEntry(TQ1Codec(), summary: "GGML, 1.6875 bits, ternary"),
    CodecEntry(Q2Codec(), summary: "GGML, 2.25 bits, -1, 0, 1 or 2"),
    CodecEntry(Q1Codec(), summary: "GGML, 1.125 bits, signs"),
  ]
}
