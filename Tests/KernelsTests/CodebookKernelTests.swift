import CKernels
import TestSupport
import Testing

/// Every instruction set gives the bits of the portable searches.
@Suite struct CodebookKernelTests {
  private static let sets = [Int32(CK_AVX2), Int32(CK_AVX512)].filter {
    unsafe ck_codebook_table_for($0) != nil
  }

  private func tables(_ set: Int32) throws -> (plain: ck_codebook_table, wide: ck_codebook_table) {
    let plain = try unsafe #require(unsafe ck_codebook_table_for(Int32(CK_PORTABLE)))
    let wide = try unsafe #require(unsafe ck_codebook_table_for(set))
    return unsafe (plain.pointee, wide.pointee)
  }

  @Test(arguments: sets)
  func levelSearchesAgree(set: Int32) throws {
    let (plain, wide) = try tables(set)
    var generator = SeededGenerator(seed: 41)
    let levels = (0..<16).map { Float($0 * $0) - 90 }
    let bounds = (0..<15).map { (levels[$0] + levels[$0 + 1]) / 2 }
    for count in [16, 32, 64, 256] {
      let values = generator.normals(count).map { $0 * 40 }
      let weights = generator.normals(count).map { $0 * $0 }
      let factors = generator.normals(7)
      var results: [[Float]] = []
      for table in [plain, wide] {
        var cross = [Float](repeating: 0, count: 7)
        var square = cross
        var codes = [UInt8](repeating: 0, count: count)
        unsafe table.levels_sums(levels, bounds, values, weights, count, factors, 7, &cross, &square)
        unsafe table.levels_codes(bounds, values, count, factors[0], &codes)
        results.append(cross + square + codes.map(Float.init))
      }
      let isSame = results[0].map(\.bitPattern) == results[1].map(\.bitPattern)
      #expect(isSame, "\(count) values, seed 41")
    }
  }

  /// Sums, and the first of equally good entries.
  @Test(arguments: sets)
  func codebookSearchesAgree(set: Int32) throws {
    let (plain, wide) = try tables(set)
    var generator = SeededGenerator(seed: 42)
    for (entries, dimensions) in [(16, 4), (256, 8), (512, 4), (1024, 8)] {
      let grid = (0..<entries * dimensions).map { _ in Float(Int.random(in: 0..<3, using: &generator)) }
      let weighted = generator.normals(dimensions)
      let weights = generator.normals(dimensions).map { $0 * $0 }
      var results: [[Float]] = []
      for table in [plain, wide] {
        var cross = [Float](repeating: 0, count: entries)
        var square = cross
        unsafe table.codebook_sums(grid, entries, dimensions, weighted, weights, &cross, &square)
        var result = cross + square
        for scale: Float in [0, 0.1, 0.5, 2] {
          var gain: Float = 0
          let entry = unsafe table.codebook_best(cross, square, entries, scale, &gain)
          let gains = cross.indices.map { 2 * scale * cross[$0] - scale * scale * square[$0] }
          let best = gains.max() ?? 0
          #expect(abs(gain - best) <= 1e-5 * (1 + abs(best)))
          result += [Float(entry), gain]
        }
        results.append(result)
      }
      let isSame = results[0].map(\.bitPattern) == results[1].map(\.bitPattern)
      #expect(isSame, "\(entries) entries of \(dimensions), seed 42")
    }
  }
}
