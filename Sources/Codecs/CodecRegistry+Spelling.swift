extension CodecRegistry {
  /// A codec by its short name and options, such as `q8_0` or `int4`, or with all its parameters in its name, as in
  /// `int4-g32-sym` or `fp8_e4m3-tensor`.
  /// - Throws: ``CodecError``.
  public static func codec(
    spelled name: String, _ parameters: CodecParameters
  ) throws(CodecError) -> any Codec {
    if parameters.isEmpty, let codec = try? codec(canonicalName: name) { return codec }
    return try codec(named: name, parameters)
  }
}
