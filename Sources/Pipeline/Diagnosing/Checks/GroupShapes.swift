import Codecs
import OrderedCollections
import SafeIO
import TensorCore

extension DoctorCheck {
  /// Shapes that blocks or groups do not divide, and that engines therefore treat apart or refuse.
  static let groupShapes = DoctorCheck(
    name: "group-shapes", summary: "groups divide the columns, and engines' kernels fit the shapes"
  ) { subject, _ in
    var findings: [Finding] = []
    let declared = (subject.quantization?["group_size"] ?? subject.quantization?["q_group_size"])?.intValue
    var ragged: [String] = []
    var narrow: [String] = []
    for (name, weight) in subject.weights where weight.shape.rank == 2 {
      guard case .encoded(let matrix) = weight, let codec = matrix.codec as? IntegerGroupCodec else {
        continue
      }
      if matrix.columns % codec.groupLength(columns: matrix.columns) != 0 { ragged.append(name) }
      if matrix.rows % 64 != 0 || matrix.columns % 128 != 0 { narrow.append(name) }
    }
    if let first = ragged.first {
      findings.append(
        Finding(
          .error, check: "group-shapes", subject: first,
          "the columns of \(ragged.count) weights are not whole groups\(declared.map { " of \($0)" } ?? "")",
          meaning: "vLLM and most kernels refuse such weights",
          remedy: "quantize with a group size that divides the columns, or leave these weights out"))
    }
    if subject.directory != nil, let first = narrow.first {
      findings.append(
        Finding(
          .note, check: "group-shapes", subject: first,
          "\(narrow.count) quantized weights do not have a multiple of 64 rows and of 128 columns",
          meaning: "vLLM's fastest kernels (Marlin) pass over them and slower ones are used",
          remedy: "nothing need be done where speed on a GPU does not matter"))
    }
    return findings
  }
}
