import Journal
import OrderedCollections
import SafeIO
import TensorCore
import TestSupport
import Testing

@Suite struct JournalTests {
  let directory = TemporaryDirectory()
  static let vectors = SharedData.projectRoot + "/Formats/Journal/Vectors/"

  private func copy(of name: String) throws -> String {
    directory.write(try FileReading.readAll(Self.vectors + name, limit: 1 << 16), to: name)
  }

  @Test func aValidJournalIsRead() throws {
    let journal = try JournalFile(path: copy(of: "valid.journal"))
    #expect(!journal.hadTornEnd)
    #expect(journal.records.count == 3)
    #expect(journal.records[0].value["recipe"]?["codec"]?.stringValue == "int4-g32-sym")
    #expect(journal.records[1].tensors.keys == ["x/codes", "x/scales"])
    #expect(try journal.records[1].tensors["x/scales"]?.floats() == [1.5, -2, 0.25])
    #expect(journal.records[1].tensors["x/codes"]?.shape.dimensions == [2, 2])
    #expect(journal.records[2].tensors["empty"]?.byteCount == 0)
  }

  @Test func whatIsAppendedIsReadBack() throws {
    let path = directory.file("a.journal")
    let codes = try Tensor(bytes: [1, 2, 3], elementType: .u8, shape: [3])
    do {
      let journal = try JournalFile(path: path)
      #expect(journal.records.isEmpty && !journal.hadTornEnd)
      try journal.append(JournalRecord("identity"))
      try journal.append(JournalRecord(["n": 1], tensors: ["codes": codes]))
    }
    let journal = try JournalFile(path: path)
    #expect(journal.records.map(\.value) == ["identity", ["n": 1]])
    #expect(try journal.records[1].tensors["codes"]?.integers() == [1, 2, 3])
    journal.remove()
    #expect(!FileReading.exists(path))
  }

  /// A run may be killed after any byte: the records before are kept, and the next run appends behind them.
  @Test func everyTornEndIsPassedOver() throws {
    let whole = try FileReading.readAll(Self.vectors + "valid.journal", limit: 1 << 16)
    var counts: Set<Int> = []
    for length in 0..<whole.count {
      let path = directory.write(Array(whole[..<length]), to: "cut.journal")
      let before: Int
      do {
        let journal = try JournalFile(path: path)
        before = journal.records.count
        counts.insert(before)
        try journal.append(JournalRecord(JSONValue(length)))
      }
      let journal = try JournalFile(path: path)
      #expect(journal.records.count == before + 1 && !journal.hadTornEnd, "cut at \(length)")
      #expect(journal.records.last?.value == JSONValue(length))
    }
    #expect(counts == [0, 1, 2])
  }

  @Test func aLastRecordWithAWrongChecksumIsATornEnd() throws {
    var bytes = try FileReading.readAll(Self.vectors + "valid.journal", limit: 1 << 16)
    bytes[bytes.count - 1] ^= 1
    let journal = try JournalFile(path: directory.write(bytes, to: "last.journal"))
    #expect(journal.records.count == 2 && journal.hadTornEnd)
  }

  @Test(arguments: [
    "damaged", "foreign", "long-head", "overflowing-shape", "trailing-bytes",
  ]) func damageIsRefused(_ name: String) throws {
    let path = try copy(of: name + ".journal")
    let before = try FileReading.readAll(path, limit: 1 << 16)
    let error = #expect(throws: JournalError.self) { _ = try JournalFile(path: path) }
    #expect(error?.diagnostic.file == path)
    #expect(try FileReading.readAll(path, limit: 1 << 16) == before, "the file was touched")
  }

  @Test(arguments: [("torn", 2), ("torn-magic", 0), ("endless", 0)])
  func tornVectorsAreCut(_ name: String, count: Int) throws {
    let journal = try JournalFile(path: copy(of: name + ".journal"))
    #expect(journal.records.count == count && journal.hadTornEnd)
  }

  @Test func aSecondRunIsRefused() throws {
    let path = directory.file("held.journal")
    let journal = try JournalFile(path: path)
    let error = #expect(throws: JournalError.self) { _ = try JournalFile(path: path) }
    #expect(error?.diagnostic.message.contains("another run") == true)
    try journal.append(JournalRecord(1))
  }
}
