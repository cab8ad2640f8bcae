//! A group as `--describe` needs it, whichever protocol it uses: the new protocol's description first, then the classic one.

use base::TopicPartition;
use client::admin::CoordinatorKind;
use client::{Admin, Error, Node};
use wire::ErrorCode;
use wire::messages::ConsumerGroupDescribeRequest;
use wire::messages::consumer_group_describe_response::Assignment;

pub struct Group {
    pub id: String,
    pub state: String,
    pub assignor: String,
    pub coordinator: Node,
    /// Groups of the new protocol only.
    pub epoch: Option<i32>,
    pub assignment_epoch: Option<i32>,
    pub members: Vec<Member>,
}

pub struct Member {
    pub id: String,
    pub instance_id: Option<String>,
    pub client_id: String,
    pub host: String,
    pub assignment: Vec<TopicPartition>,
    pub target: Vec<TopicPartition>,
    pub epoch: Option<i32>,
    /// Whether a member of a new group uses the new protocol; None if that is not told.
    pub upgraded: Option<bool>,
}

pub async fn describe(admin: &Admin, id: &str) -> Result<Group, Error> {
    match describe_new(admin, id).await {
        Ok(Some(group)) => Ok(group),
        Ok(None) => describe_classic(admin, id).await,
        Err(error) => Err(error),
    }
}

/// None when this is no group of the new protocol, or the broker does not know that protocol.
async fn describe_new(admin: &Admin, id: &str) -> Result<Option<Group>, Error> {
    let request = ConsumerGroupDescribeRequest { group_ids: vec![id.to_owned()], ..Default::default() };
    let response = match admin.coordinator(CoordinatorKind::Group, id, request).await {
        Ok(response) => response,
        Err(error) if error.code() == Some(ErrorCode::UnsupportedVersion) => return Ok(None),
        Err(error) => return Err(error),
    };
    let Some(found) = response.groups.into_iter().next() else { return Ok(None) };
    match ErrorCode::from_code(found.error_code) {
        ErrorCode::None => {}
        ErrorCode::GroupIdNotFound | ErrorCode::UnsupportedVersion => return Ok(None),
        code => return Err(Error::broker(code, found.error_message)),
    }
    let partitions = |assignment: Assignment| -> Vec<TopicPartition> {
        let of_topic = |topic: wire::messages::consumer_group_describe_response::TopicPartitions| {
            topic.partitions.into_iter().map(move |partition| TopicPartition::new(topic.topic_name.clone(), partition))
        };
        assignment.topic_partitions.into_iter().flat_map(of_topic).collect()
    };
    let members = found.members.into_iter().map(|member| Member {
        id: member.member_id,
        instance_id: member.instance_id,
        client_id: member.client_id,
        host: member.client_host,
        assignment: partitions(member.assignment),
        target: partitions(member.target_assignment),
        epoch: Some(member.member_epoch),
        upgraded: match member.member_type {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        },
    });
    Ok(Some(Group {
        id: found.group_id,
        state: found.group_state,
        assignor: found.assignor_name,
        coordinator: coordinator(admin, id).await?,
        epoch: Some(found.group_epoch),
        assignment_epoch: Some(found.assignment_epoch),
        members: members.collect(),
    }))
}

async fn coordinator(admin: &Admin, id: &str) -> Result<Node, Error> {
    let request = wire::messages::FindCoordinatorRequest { key_type: 0, coordinator_keys: vec![id.to_owned()], ..Default::default() };
    let response = admin.any(request).await?;
    let found = response.coordinators.into_iter().next().ok_or_else(|| Error::broker(ErrorCode::CoordinatorNotAvailable, None))?;
    Ok(Node { id: found.node_id, host: found.host, port: found.port as u16, rack: None })
}

async fn describe_classic(admin: &Admin, id: &str) -> Result<Group, Error> {
    let described = admin.describe_groups(&[id.to_owned()]).await?.into_iter().next();
    let (_, described) = described.ok_or_else(|| Error::broker(ErrorCode::GroupIdNotFound, None))?;
    let group = described?;
    let members = group.members.into_iter().map(|member| Member {
        id: member.member_id,
        instance_id: member.group_instance_id,
        client_id: member.client_id,
        host: member.client_host,
        assignment: member.assignment,
        target: Vec::new(),
        epoch: None,
        upgraded: None,
    });
    Ok(Group {
        id: group.group_id,
        state: group.state,
        assignor: group.assignor,
        coordinator: group.coordinator,
        epoch: None,
        assignment_epoch: None,
        members: members.collect(),
    })
}
