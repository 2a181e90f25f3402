import TestSupport
import Testing

/// Dependencies point downwards only, as the table of rooms says.
@Suite struct DependencyTests {
  static let levels: [String: Int] = {
    let rooms: [[String]] = [
      ["TensorCore"], ["SafeIO"],
      [
        "GraphIR", "Codecs", "Safetensors", "GGUF", "Llama2C", "Journal", "LogitBase", "Tokenizers",
        "PackedModel",
      ],
      [
        "Imatrix", "CompressedTensors", "GPTQFormat", "AWQFormat", "FP8Format", "ModelOptFormat", "MLXFormat",
        "MXFP4Format",
        "Architectures", "GraphDrawing", "GraphPasses", "Kernels",
      ], ["Execution", "Differentiation"],
      ["Quantization", "Calibration"], ["Pipeline", "Evaluation"], ["adze"],
    ]
    var levels = ["CKernels": -1, "COpenBLAS": -1, "CPCRE2": -1, "CZstd": -1]
    for (level, names) in rooms.enumerated() { for name in names { levels[name] = level } }
    return levels
  }()

  let package = PackageDescription()
  private var rooms: [PackageDescription.Target] { package.targets.filter { !$0.isTest } }

  @Test func everyRoomHasALevel() {
    let names = Set(rooms.map(\.name))
    #expect(names == Set(Self.levels.keys))
    #expect(names.count == rooms.count)
    for room in rooms {
      #expect(!Files.all(below: SharedData.projectRoot + "/" + room.path).isEmpty, "\(room.path)")
    }
  }

  @Test func dependenciesPointDownwards() {
    for room in rooms {
      let level = Self.levels[room.name] ?? 0
      for dependency in room.dependencies {
        let below = Self.levels[dependency]
        #expect(below != nil, "\(room.name) depends on \(dependency), which has no level")
        #expect(below ?? 99 < level, "\(room.name) (\(level)) depends on \(dependency) (\(below ?? 99))")
      }
    }
    #expect(
      rooms.contains { $0.name == "Pipeline" && $0.dependencies.count > 10 }, "the description was misread")
  }

  @Test func theTableOfRoomsIsThePackages() {
    var written: [String: Int] = [:]
    for line in Files.text(SharedData.projectRoot + "/CONTRIBUTING.md").split(separator: "\n") {
      let cells = line.split(separator: "|", omittingEmptySubsequences: false)
      guard cells.count > 3, let level = cells[1].wholeMatch(of: #/ ([0-9]|–) /#)?.output.1 else { continue }
      for name in cells[2].matches(of: /`([A-Za-z0-9]+)`/) {
        written[String(name.output.1)] = Int(level) ?? -1
      }
    }
    #expect(written == Self.levels)
  }

  /// What a source imports of ours is declared, and what is declared is imported.
  @Test func importsMatchTheDeclaredDependencies() {
    let ours = Set(Self.levels.keys).union(["TestSupport"])
    for target in package.targets {
      let sources = Files.swift(below: SharedData.projectRoot + "/" + target.path)
      let imported = Set(sources.flatMap(Self.imports))
      for module in imported.intersection(ours) where module != target.name {
        #expect(
          target.dependencies.contains(module), "\(target.name) imports \(module), which is not declared")
      }
      for module in Set(target.dependencies).intersection(ours) where !target.isTest {
        #expect(imported.contains(module), "\(target.name) declares \(module) and never imports it")
      }
    }
  }

  private static func imports(_ path: String) -> [String] {
    Files.text(path).split(separator: "\n").compactMap { line in
      let words = line.split(separator: " ")
      guard let keyword = words.firstIndex(of: "import"), keyword + 1 < words.count,
        words[..<keyword].allSatisfy({ $0.hasPrefix("@") || ["public", "package", "internal"].contains($0) })
      else { return nil }
      return words.last.map { String($0.split(separator: ".").first ?? $0) }
    }
  }
}
