import CKernels

/// The searches of the fastest instruction set; all of them give the same bits.
struct CodebookKernels: @unchecked Sendable {
  private let table: ck_codebook_table

  /// For this processor.
  static let best: CodebookKernels = {
    for instructionSet in [CK_AVX512, CK_AVX2] {
      if let kernels = CodebookKernels(instructionSet: Int32(instructionSet)) { return kernels }
    }
    guard let portable = CodebookKernels(instructionSet: Int32(CK_PORTABLE)) else {
      preconditionFailure("portable kernels exist everywhere")
    }
    return portable
  }()

  init?(instructionSet: Int32) {
    guard let table = unsafe ck_codebook_table_for(instructionSet) else { return nil }
    self.table = unsafe table.pointee
  }

  /// Sums of every group of values with every entry, group after group.
  func sums(
    _ values: Span<Float>, _ weights: Span<Float>, grid: CodebookGrid, _ workspace: inout BlockWorkspace
  ) {
    var weighted = [Float](repeating: 0, count: values.count)
    for index in values.indices { weighted[index] = weights[index] * values[index] }
    let (entries, dimensions) = (grid.entries, grid.dimensions)
    for group in 0..<values.count / dimensions {
      unsafe weights.withUnsafeBufferPointer { weights in
        unsafe weighted.withUnsafeBufferPointer { weighted in
          unsafe grid.coordinates.withUnsafeBufferPointer { coordinates in
            unsafe workspace.cross.withUnsafeMutableBufferPointer { cross in
              unsafe workspace.square.withUnsafeMutableBufferPointer { square in
                unsafe table.codebook_sums(
                  coordinates.baseAddress, entries, dimensions,
                  weighted.baseAddress.map { unsafe $0 + group * dimensions },
                  unsafe weights.baseAddress.map { unsafe $0 + group * dimensions },
                  unsafe cross.baseAddress.map { unsafe $0 + group * entries },
                  unsafe square.baseAddress.map { unsafe $0 + group * entries })
              }
            }
          }
        }
      }
    }
  }

  /// The entry of greatest gain for a group.
  func best(
    _ workspace: BlockWorkspace, group: Int, entries: Int, scale: Float
  ) -> (entry: Int, gain: Float) {
    var gain: Float = 0
    let entry = unsafe workspace.cross.withUnsafeBufferPointer { cross in
      unsafe workspace.square.withUnsafeBufferPointer { square in
        unsafe table.codebook_best(
          cross.baseAddress.map { unsafe $0 + group * entries },
          unsafe square.baseAddress.map { unsafe $0 + group * entries }, entries,
          scale, &gain)
      }
    }
    return (Int(entry), gain)
  }

  /// For each factor the sums of `w x v` and `w v v`, `v` being the level of `x * factor`.
  func sums(
    _ values: Span<Float>, _ weights: Span<Float>, levels: LevelTable, factors: [Float],
    _ workspace: inout BlockWorkspace
  ) {
    if workspace.cross.count < factors.count {
      workspace.cross = [Float](repeating: 0, count: factors.count)
      workspace.square = workspace.cross
    }
    unsafe values.withUnsafeBufferPointer { values in
      unsafe weights.withUnsafeBufferPointer { weights in
        unsafe workspace.cross.withUnsafeMutableBufferPointer { cross in
          unsafe workspace.square.withUnsafeMutableBufferPointer { square in
            unsafe table.levels_sums(
              levels.levels, levels.bounds, values.baseAddress, weights.baseAddress, values.count, factors,
              factors.count, cross.baseAddress, square.baseAddress)
          }
        }
      }
    }
  }

  /// The places in the table of the levels of `x * factor`.
  func codes(
    _ values: Span<Float>, levels: LevelTable, factor: Float, into codes: inout MutableSpan<UInt8>
  ) {
    unsafe values.withUnsafeBufferPointer { values in
      unsafe codes.withUnsafeMutableBufferPointer { codes in
        unsafe table.levels_codes(levels.bounds, values.baseAddress, values.count, factor, codes.baseAddress)
      }
    }
  }
}
