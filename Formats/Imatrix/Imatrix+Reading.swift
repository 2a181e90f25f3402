import GGUF
import OrderedCollections
import SafeIO
import TensorCore

extension Imatrix {
  static let sumSuffix = ".in_sum2"
  static let countSuffix = ".counts"
  static let typeKey = "general.type"
  static let typeName = "imatrix"
  static let datasetsKey = "imatrix.datasets"
  static let chunkCountKey = "imatrix.chunk_count"
  static let chunkSizeKey = "imatrix.chunk_size"
  /// Names longer than this are not those of weights.
  private static let maximumNameByteCount = 1024

  /// Whether a file is an importance matrix of either form; the legacy form, which has no mark, is read for that.
  public static func isImatrix(path: String) -> Bool { (try? form(of: path)) != nil }

  /// The form of a file.
  /// - Throws: ``ImatrixError``.
  public static func form(of path: String) throws(ImatrixError) -> Form {
    if GGUFFile.isGGUF(path: path) {
      let file: GGUFFile
      do throws(GGUFError) { file = try GGUFFile(path: path) } catch { throw .gguf(error) }
      guard file.metadata[typeKey]?.stringValue == typeName else {
        throw .notImatrix(file: path, found: "a GGUF file of another type")
      }
      return .gguf
    }
    _ = try Imatrix(legacy: path)
    return .legacy
  }

  /// Reads a file of either form.
  /// - Throws: ``ImatrixError``.
  public init(path: String) throws(ImatrixError) {
    if GGUFFile.isGGUF(path: path) {
      let file: GGUFFile
      do throws(GGUFError) { file = try GGUFFile(path: path) } catch { throw .gguf(error) }
      try self.init(file)
    } else {
      try self.init(legacy: path)
    }
  }

  // MARK: GGUF

  private init(_ file: GGUFFile) throws(ImatrixError) {
    guard file.metadata[Self.typeKey]?.stringValue == Self.typeName else {
      throw .notImatrix(
        file: file.path, found: "general.type \(file.metadata[Self.typeKey]?.stringValue ?? "(none)")")
    }
    func count(_ key: String) throws(ImatrixError) -> Int {
      guard let value = file.metadata[key]?.intValue, (0...1 << 40).contains(value) else {
        throw .entry(
          file: file.path, name: key, problem: "must be a number of windows or tokens",
          found: file.metadata[key].map { "\($0)" } ?? "nothing")
      }
      return value
    }
    self.init(
      entries: [:], datasets: file.metadata[Self.datasetsKey]?.arrayValue?.strings?.texts ?? [],
      chunkCount: try count(Self.chunkCountKey), chunkSize: try count(Self.chunkSizeKey))
    for name in file.tensors.keys {
      if name.hasSuffix(Self.sumSuffix) {
        let weight = String(name.dropLast(Self.sumSuffix.count))
        entries[weight] = try Self.entry(file, weight)
      } else if name.hasSuffix(Self.countSuffix) {
        guard file.tensors[name.dropLast(Self.countSuffix.count) + Self.sumSuffix] != nil else {
          throw .entry(file: file.path, name: name, problem: "there are counts without sums", found: nil)
        }
      } else {
        throw .entry(file: file.path, name: name, problem: "is neither sums nor counts", found: nil)
      }
    }
  }

  private static func entry(_ file: GGUFFile, _ name: String) throws(ImatrixError) -> Entry {
    func values(_ suffix: String) throws(ImatrixError) -> [Float] {
      guard let entry = file.tensors[name + suffix], entry.type.name == "F32" else {
        throw .entry(
          file: file.path, name: name + suffix, problem: "there must be a tensor of type F32",
          found: file.tensors[name + suffix]?.type.name)
      }
      do {
        return try file.tensor(named: name + suffix).floats()
      } catch let error as GGUFError {
        throw .gguf(error)
      } catch {
        throw .entry(file: file.path, name: name + suffix, problem: "cannot be read", found: "\(error)")
      }
    }
    let entry = Entry(squareSums: try values(sumSuffix), counts: try values(countSuffix))
    try check(entry, name: name, file: file.path)
    return entry
  }

  private static func check(_ entry: Entry, name: String, file: String) throws(ImatrixError) {
    guard !entry.counts.isEmpty, entry.squareSums.count % entry.counts.count == 0 else {
      throw .entry(
        file: file, name: name, problem: "sums do not divide among counts",
        found: "\(entry.squareSums.count) sums, \(entry.counts.count) counts")
    }
    if let bad = (entry.squareSums + entry.counts).first(where: { !$0.isFinite || $0 < 0 }) {
      throw .entry(
        file: file, name: name, problem: "sums of squares and counts are finite and not negative",
        found: "\(bad)")
    }
  }

  // MARK: Legacy

  private init(legacy path: String) throws(ImatrixError) {
    self.init(entries: [:], datasets: [], chunkCount: 0, chunkSize: nil)
    do throws(SafeIOError) {
      var reader = ByteReader(try MappedFile.open(path), file: path)
      let count = try Self.count(&reader, minimumByteCount: 12, what: "entries")
      guard count > 0 else {
        throw .malformed(file: path, offset: 0, problem: "an importance matrix without entries")
      }
      for _ in 0..<count {
        let start = reader.offset
        let nameLength = try Self.count(&reader, minimumByteCount: 1, what: "bytes of a name")
        guard (1...Self.maximumNameByteCount).contains(nameLength) else {
          throw .malformed(file: path, offset: start, problem: "a name of \(nameLength) bytes")
        }
        let name = try reader.readText(nameLength)
        let calls = try reader.readLittleEndian(Int32.self)
        let valueCount = try Self.count(&reader, minimumByteCount: 4, what: "values")
        guard calls >= 0, valueCount > 0 else {
          throw .malformed(file: path, offset: start, problem: "\(calls) calls and \(valueCount) values")
        }
        var values: [Float] = []
        values.reserveCapacity(valueCount)
        for _ in 0..<valueCount { values.append(try reader.readFloat()) }
        guard values.allSatisfy({ $0.isFinite && $0 >= 0 }) else {
          throw .malformed(
            file: path, offset: start, problem: "sums of squares of '\(name)' are not finite or negative")
        }
        // The tools take values without calls as they are.
        let entry = Entry(squareSums: values, counts: [Float(max(calls, 1))])
        guard entries.updateValue(entry, forKey: name) == nil else {
          throw .malformed(file: path, offset: start, problem: "'\(name)' appears twice")
        }
      }
      guard reader.remaining > 0 else { return }
      chunkCount = max(0, Int(try reader.readLittleEndian(Int32.self)))
      let length = try Self.count(&reader, minimumByteCount: 1, what: "bytes of a name")
      if length > 0 { datasets = [try reader.readText(length)] }
      guard reader.remaining == 0 else {
        throw .malformed(file: path, offset: reader.offset, problem: "\(reader.remaining) bytes too many")
      }
    } catch { throw .io(error) }
  }

  private static func count(
    _ reader: inout ByteReader, minimumByteCount: Int, what: String
  ) throws(SafeIOError) -> Int {
    let start = reader.offset
    let count = try reader.readLittleEndian(Int32.self)
    guard count >= 0 else {
      throw .malformed(file: reader.file, offset: start, problem: "\(count) \(what)")
    }
    return try reader.require(count: UInt64(count), minimumByteCount: minimumByteCount)
  }
}
