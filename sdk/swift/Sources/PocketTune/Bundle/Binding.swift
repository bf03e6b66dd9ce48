/// What an item of a program's work is counted by; a cache has one of the first four.
enum Scope: String, CaseIterable, Sendable {
  case prompt, photo, sample, picture, step, round, client

  var isOfCaches: Bool { [.prompt, .photo, .sample, .picture].contains(self) }
}

/// What a program's input or output is bound to (`spec/bundle.md`, 3).
enum Binding: Equatable, Sendable {
  case batch(Name)
  case state(Name)
  case cache(Name)
  case randomNormal, randomUniform, randomInteger
  case hyper(Name)
  case loss
  case metric(Name)
  case output(Name)

  init?(text: String) {
    switch text {
    case "random.normal": self = .randomNormal
    case "random.uniform": self = .randomUniform
    case "random.integer": self = .randomInteger
    case "loss": self = .loss
    default:
      let bytes = text.utf8
      guard let point = bytes.firstIndex(of: UInt8(ascii: ".")), bytes.index(after: point) < bytes.endIndex else {
        return nil
      }
      let name = Name(String(text[bytes.index(after: point)...]))
      switch String(text[..<point]) {
      case "batch": self = .batch(name)
      case "state": self = .state(name)
      case "cache": self = .cache(name)
      case "hyper": self = .hyper(name)
      case "metric": self = .metric(name)
      case "output": self = .output(name)
      default: return nil
      }
    }
  }

  var isRandom: Bool { [.randomNormal, .randomUniform, .randomInteger].contains(self) }
  var state: Name? {
    if case .state(let name) = self { return name }
    return nil
  }
  var cache: Name? {
    if case .cache(let name) = self { return name }
    return nil
  }
}

/// One input or output of a program.
public struct Argument: Sendable {
  /// As the program calls it.
  public let name: String
  /// Of its elements.
  public let type: ElementType
  /// Row-major; empty for a single number.
  public let shape: [Int]
  let binding: Binding
  /// Of random inputs.
  var stream: UInt32 = 0
  var index: Scope = .sample
  var low: Int64 = 0
  var high: Int64 = 1
  /// Of a cache of prompts, where two prompts are needed.
  var unconditional = false

  /// Size of the tensor in bytes.
  public var bytes: Int { byteCount(shape, type)! }
}

/// A program of a bundle: what it takes and gives, in order, and where each engine finds it.
public struct Program: Sendable {
  /// Where an engine finds the program.
  public struct Entry: Sendable {
    /// Name of the file in the bundle.
    public let file: String
    /// Name of the method in the file.
    public let method: String
  }

  /// As the manifest calls it.
  public let name: String
  /// In the order in which an engine takes them.
  public let inputs: [Argument]
  /// In the order in which an engine gives them.
  public let outputs: [Argument]
  let engines: [Name: Entry]

  /// Where that engine finds the program; nil when the bundle has it for other engines only.
  public func entry(for engine: String) -> Entry? { engines[Name(engine)] }

  /// Names of the state tensors that it reads or writes.
  var state: Set<Name> { Set((inputs + outputs).compactMap(\.binding.state)) }
}
