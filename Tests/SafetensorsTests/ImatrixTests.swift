import GGUF
import Imatrix
import OrderedCollections
import SafeIO
import TensorCore
import TestSupport
import Testing

@Suite("Importance matrices") struct ImatrixTests {
  private let directory = TemporaryDirectory()
  private static let vectors = SharedData.projectRoot + "/Formats/Imatrix/Vectors"

  private static let sample = Imatrix(
    entries: [
      "blk.0.attn_q.weight": .init(squareSums: [2, 4, 0], counts: [4]),
      "blk.0.ffn_up_exps.weight": .init(squareSums: [1, 2, 3, 4], counts: [2, 0]),
    ], datasets: ["text.txt"], chunkCount: 3, chunkSize: 2)

  @Test("the GGUF form keeps everything") func ggufForm() throws {
    let path = directory.file("a.gguf")
    try Self.sample.write(to: path, form: .gguf)
    #expect(try Imatrix(path: path) == Self.sample)
    #expect(try Imatrix.form(of: path) == .gguf)
    let file = try GGUFFile(path: path)
    #expect(file.metadata["general.type"] == .string("imatrix"))
    #expect(file.metadata["imatrix.chunk_count"] == .uint32(3))
    #expect(file.tensors["blk.0.attn_q.weight.counts"]?.shape == [1])
    #expect(file.tensors["blk.0.ffn_up_exps.weight.in_sum2"]?.shape == [2, 2])
    #expect(file.tensors["blk.0.ffn_up_exps.weight.counts"]?.shape == [2, 1])
  }

  @Test("the legacy form keeps means") func legacyForm() throws {
    let path = directory.file("a.dat")
    try Self.sample.write(to: path, form: .legacy)
    #expect(try Imatrix.form(of: path) == .legacy)
    let read = try Imatrix(path: path)
    #expect(read.chunkSize == nil && read.chunkCount == 3 && read.datasets == ["text.txt"])
    #expect(read.entries["blk.0.attn_q.weight"] == .init(squareSums: [1, 2, 0], counts: [2]))
    #expect(
      read.entries["blk.0.attn_q.weight"]?.importance
        == Self.sample.entries["blk.0.attn_q.weight"]?.importance)
    // A matrix that saw nothing is stored with mean 1.
    #expect(read.entries["blk.0.ffn_up_exps.weight"]?.importance == [0.5, 1, 1, 1])
    let again = directory.file("b.dat")
    try read.write(to: again, form: .legacy)
    #expect(try FileReading.readAll(again) == FileReading.readAll(path))
  }

  @Test("sums, counts and windows add up") func merging() throws {
    var other = Self.sample
    other.entries["blk.1.attn_q.weight"] = .init(squareSums: [7], counts: [1])
    other.datasets = ["other.txt"]
    let sum = try Self.sample.merged(with: other)
    #expect(sum.entries["blk.0.attn_q.weight"] == .init(squareSums: [4, 8, 0], counts: [8]))
    #expect(sum.entries["blk.1.attn_q.weight"] == .init(squareSums: [7], counts: [1]))
    #expect(sum.chunkCount == 6 && sum.datasets == ["text.txt", "other.txt"])
    other.entries["blk.0.attn_q.weight"] = .init(squareSums: [1], counts: [1])
    #expect(throws: ImatrixError.self) { try Self.sample.merged(with: other) }
    let path = directory.file("a.dat")
    try Self.sample.write(to: path, form: .legacy)
    let legacy = try Imatrix(path: path)
    // Two calls of two tokens each, and four rows.
    #expect(
      try Self.sample.merged(with: legacy).entries["blk.0.attn_q.weight"]
        == .init(squareSums: [4, 8, 0], counts: [8]))
    #expect(
      try legacy.merged(with: Self.sample).entries["blk.0.attn_q.weight"]
        == .init(squareSums: [4, 8, 0], counts: [8]))
  }

  @Test(
    "files of llama-imatrix are read and written back byte for byte", arguments: ["peer.gguf", "peer.dat"])
  func peers(name: String) throws {
    let path = Self.vectors + "/" + name
    let read = try Imatrix(path: path)
    #expect(!read.entries.isEmpty)
    let copy = directory.file("copy")
    try read.write(to: copy, form: Imatrix.form(of: path))
    #expect(try FileReading.readAll(copy) == FileReading.readAll(path))
  }

  @Test("both forms of one run agree") func formsAgree() throws {
    let first = try Imatrix(path: Self.vectors + "/peer.gguf")
    let second = try Imatrix(path: Self.vectors + "/peer.dat")
    #expect(first.entries.keys == second.entries.keys)
    for (name, entry) in first.entries {
      let other = second.entries[name]?.importance ?? []
      #expect(entry.importance.count == other.count)
      for (a, b) in zip(entry.importance, other) { #expect(abs(a - b) <= 1e-6 * max(a, b)) }
    }
  }

  @Test("hostile files are refused") func hostile() throws {
    let folder = Self.vectors + "/hostile"
    let names = try FileReading.list(folder)
    #expect(names.count >= 8)
    for name in names {
      #expect(throws: ImatrixError.self, "\(name)") { try Imatrix(path: folder + "/" + name) }
      // The mark of the GGUF form is there even when the rest is damaged.
      if name.hasSuffix(".dat") { #expect(!Imatrix.isImatrix(path: folder + "/" + name), "\(name)") }
    }
  }

  @Test("every prefix and flipped bit is an error or a value") func damage() throws {
    for form in Imatrix.Form.allCases {
      let path = directory.file("whole")
      try Self.sample.write(to: path, form: form)
      let bytes = try FileReading.readAll(path)
      for count in 0..<bytes.count {
        _ = try? Imatrix(path: directory.write(Array(bytes[..<count]), to: "part"))
      }
      for index in bytes.indices {
        var damaged = bytes
        damaged[index] ^= 0x80
        guard let read = try? Imatrix(path: directory.write(damaged, to: "part")) else { continue }
        for entry in read.entries.values { #expect(entry.importance.count == entry.squareSums.count) }
        _ = try? read.write(to: directory.file("again"), form: .legacy)
      }
    }
  }
}
