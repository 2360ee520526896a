//! The reflection service lists the services of the descriptors.

use comms_grpc::{Access, Caller, Server, tonic};
use prost::Message;
use prost_types::{FileDescriptorProto, FileDescriptorSet, ServiceDescriptorProto};
use tonic::{Code, Status, service::Routes};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

use crate::support::{TestService, start_server};

fn server() -> Server {
    let service =
        ServiceDescriptorProto { name: Some("Service".into()), ..ServiceDescriptorProto::default() };
    let file = FileDescriptorProto {
        name: Some("test.proto".into()),
        package: Some("test".into()),
        service: vec![service],
        ..FileDescriptorProto::default()
    };
    Server::new(Routes::new(TestService::default()))
        .reflection(FileDescriptorSet { file: vec![file] }.encode_to_vec())
}

async fn services(server: Server) -> Result<Vec<String>, Status> {
    let server = start_server(server).await;
    let plain = tonic::transport::Endpoint::from_shared(format!("http://{}", server.address)).unwrap();
    let mut client = ServerReflectionClient::new(plain.connect().await.unwrap());
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut responses = client.server_reflection_info(futures::stream::iter([request])).await?.into_inner();
    match responses.message().await?.unwrap().message_response.unwrap() {
        MessageResponse::ListServicesResponse(list) => {
            Ok(list.service.into_iter().map(|service| service.name).collect())
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_services_are_listed_unless_a_rule_denies_it() {
    let listed = services(server()).await.unwrap();
    assert!(listed.contains(&"test.Service".to_owned()), "{listed:?}");
    let access = Access::builder()
        .allow("/grpc.reflection.v1.ServerReflection/*", [Caller::spiffe_id("spiffe://shop/console")])
        .build()
        .unwrap();
    let denied = services(server().authorize(access)).await.unwrap_err();
    assert_eq!(denied.code(), Code::Unauthenticated, "{denied}");
}
